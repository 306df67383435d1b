/** Which servers get a line of their own: the two that use most CPU and the one that uses most memory. */
export interface Load {
  server: string;
  cpu: number;
  memory: number;
}

export function pick(loads: readonly Load[]): string[] {
  const top = (of: (load: Load) => number) =>
    [...loads].sort((a, b) => of(b) - of(a) || a.server.localeCompare(b.server)).map((load) => load.server);
  const busy = top((load) => load.cpu).slice(0, 2);
  const large = top((load) => load.memory).find((server) => !busy.includes(server));
  return large === undefined ? busy : [...busy, large];
}
