/** Arguments on their way to the playground, by server and tool: too long for an address, and nobody's bookmark. */
const waiting = new Map<string, unknown>();
const key = (server: string, tool: string) => JSON.stringify([server, tool]);

/** Leaves arguments for when the tool is opened. */
export function handOver(server: string, tool: string, args: unknown): void {
  waiting.set(key(server, tool), args);
}

/** Takes what was left, once. */
export function takeOver(server: string, tool: string): unknown {
  const args = waiting.get(key(server, tool));
  waiting.delete(key(server, tool));
  return args;
}
