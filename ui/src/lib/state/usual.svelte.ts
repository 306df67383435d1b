import type { Metric, MetricAnswer } from '$lib/contract';
import type { Transport } from '$lib/transport';

const HOUR_MS = 3_600_000;
const DAYS = 7;
/** How often the hours are read: the last of them goes on. */
const EVERY_MS = 300_000;

/** Means of each hour of the last week and of the hour that goes on, of a whole server. */
export class Hours {
  #answer = $state.raw<MetricAnswer>();

  constructor(private readonly transport: Transport) {}

  /** One for each hour, the last is that which goes on; nothing while it is not known. */
  of(metric: Metric): readonly (number | null)[] {
    return this.#answer?.series.find((one) => one.metric === metric)?.values ?? [];
  }

  /** Reads them until the returned function is called. What cannot be read is not said: then nothing is unusual. */
  follow(metrics: readonly Metric[], server: string): () => void {
    let current = true;
    this.#answer = undefined;
    const read = () => {
      const hour = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
      const span = { from: hour - DAYS * 24 * HOUR_MS, to: hour, step: HOUR_MS };
      this.transport.call('metrics.query', { metrics: [...metrics], server, sum: 'server', ...span }).then(
        (answer) => {
          if (current) this.#answer = answer;
        },
        () => undefined,
      );
    };
    read();
    const timer = setInterval(read, EVERY_MS);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }
}
