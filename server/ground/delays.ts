import type { Histogram, MetricValueWithName, Registry } from 'prom-client';

export interface DelaysOptions {
  readonly name: string;
  readonly help: string;
  /** The upper bounds of the buckets, in seconds, ascending. */
  readonly buckets: readonly number[];
}

/**
 * A histogram for what happens once for every event and reader. One observation is two additions; with `Histogram` of
 * prom-client, which looks up its labels each time, it takes as long as a tenth of the whole delivery.
 */
export class Delays {
  readonly name: string;
  readonly help: string;
  readonly #buckets: readonly number[];
  /** The observations in each bucket, and those above all of them at the end. */
  readonly #counts: number[];
  #sum = 0;

  constructor({ name, help, buckets }: DelaysOptions, registry: Registry) {
    this.name = name;
    this.help = help;
    this.#buckets = buckets;
    this.#counts = [...buckets, 0].map(() => 0);
    // The registry only uses the name and `get`; its type names the classes of prom-client.
    registry.registerMetric(this as unknown as Histogram);
  }

  observe(seconds: number): void {
    let bucket = 0;
    for (; bucket < this.#buckets.length; bucket += 1) if (seconds <= (this.#buckets[bucket] ?? 0)) break;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += seconds;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#sum = 0;
  }

  async get() {
    const { name, help } = this;
    let count = 0;
    const values: MetricValueWithName<'le'>[] = this.#counts.map((inBucket, index) => {
      count += inBucket;
      return { metricName: `${name}_bucket`, labels: { le: this.#buckets[index] ?? '+Inf' }, value: count };
    });
    values.push({ metricName: `${name}_sum`, labels: {}, value: this.#sum });
    values.push({ metricName: `${name}_count`, labels: {}, value: count });
    return { name, help, type: 'histogram', aggregator: 'sum' as const, values };
  }
}
