import type { Hello } from '$lib/contract';
import type { LinkStatus, Transport } from '$lib/transport';

/** How the link to the engine stands, for components. */
export class Link {
  status = $state.raw<LinkStatus>({ state: 'connecting', since: Date.now(), failures: 0 });
  hello = $state.raw<Hello>();

  constructor(private readonly transport: Transport) {}

  /** Follows the transport until the returned function is called. */
  start(): () => void {
    const ends = [
      this.transport.watchStatus((status) => (this.status = status)),
      this.transport.watchHello((hello) => (this.hello = hello)),
    ];
    return () => ends.forEach((end) => end());
  }

  get live(): boolean {
    return this.status.state === 'live';
  }

  get unreachable(): boolean {
    return this.status.state === 'unreachable';
  }

  retryNow(): void {
    this.transport.retryNow();
  }
}
