import { createContext } from 'svelte';
import { now } from '$kit/now.svelte';
import type { Transport } from '$lib/transport';
import { Alerts } from './alerts.svelte';
import { Events } from './events.svelte';
import { Fleet } from './fleet.svelte';
import { Gateway } from './gateway.svelte';
import { Link } from './link.svelte';
import { Metrics } from './metrics.svelte';
import { Workflows } from './workflows.svelte';

/** Everything the screen knows of one engine, and the way to ask it. Components get it with `getModel()`. */
export class Model {
  readonly link: Link;
  readonly fleet: Fleet;
  readonly events: Events;
  readonly metrics: Metrics;
  readonly gateway: Gateway;
  readonly workflows: Workflows;
  readonly alerts: Alerts;

  constructor(readonly transport: Transport) {
    this.link = new Link(transport);
    this.fleet = new Fleet(transport, (engineNow) => (now.offset = engineNow - Date.now()));
    this.events = new Events(transport);
    this.metrics = new Metrics(transport, (samples) => this.fleet.sampled(samples));
    this.gateway = new Gateway(transport, () => this.metrics.pausedAt !== undefined);
    this.workflows = new Workflows(transport);
    this.alerts = new Alerts(transport);
  }

  /** Begins to follow the engine; the returned function ends it. */
  start(): () => void {
    const ends = [
      this.link.start(),
      this.fleet.start(),
      this.events.start(),
      this.metrics.start(),
      this.gateway.start(),
      this.workflows.start(),
      this.alerts.start(),
    ];
    return () => ends.forEach((end) => end());
  }

  /** Short for a call of the transport. */
  get call(): Transport['call'] {
    return this.transport.call.bind(this.transport);
  }

  /** Whether what is shown may be old: no link, and the last word is older than three samplings. */
  get stale(): boolean {
    return !this.link.live && now.ms - this.link.status.since > 3 * this.metrics.interval;
  }

  /** Age of the last sample in milliseconds, where there is one. */
  get sampleAge(): number | undefined {
    return this.metrics.last === undefined ? undefined : Math.max(0, now.ms - this.metrics.last);
  }
}

export const [getModel, setModel] = createContext<Model>();
