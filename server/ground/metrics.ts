import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { Delays } from './delays.js';

/** The buckets of the time between the tail and the send buffer, in seconds. */
const DELIVERY_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** The metrics of a gateway. Each gateway has a registry of its own, so that several can run in one process. */
export class Metrics {
  readonly registry = new Registry();
  readonly rings = this.#counter('rings_total', 'Rings of the doorbell that were received.');
  readonly silentCommits = this.#counter(
    'silent_commits_total',
    'Transactions found while awake. Most of their writers did not have to ring, because the gate was held.',
  );
  readonly reads = this.#counter('tail_reads_total', 'Reads of the tail.');
  readonly commits = this.#counter('commits_total', 'Transactions with events that the tail has found.');
  readonly unannounced = this.#counter(
    'unannounced_reads_total',
    'Safety reads that found rows without a ring, then or within the next interval. Rises only when a ringer died, hung, or stopped while transactions were open.',
  );
  readonly opens = this.#counter('open_statements_total', 'Statements that read the state of channels.');
  readonly pageStatements = this.#counter('page_statements_total', 'Statements that read pages of old events.');
  readonly pages = this.#counter(
    'pages_total',
    'Pages of old events that were read. One page serves all readers that need it.',
  );
  readonly withheld = this.#counter(
    'events_withheld_total',
    'Events that are not sent because they are too large, or because PostgreSQL cannot encode them.',
  );
  readonly policyFailures = this.#counter(
    'policy_failures_total',
    'Questions whether a principal may read a channel that a policy or guard answered with an error, or too late.',
  );
  readonly #delivery = new Delays(
    {
      name: 'rowcast_delivery_seconds',
      help: 'From the read of the tail that found an event to its transport, for readers that had everything before it.',
      buckets: DELIVERY_BUCKETS,
    },
    this.registry,
  );
  readonly turnedAway = this.#counter('turned_away_total', 'Connections that were refused with a retry hint.');
  readonly #scrape: () => Promise<string>;
  /** Events that were sent since the last scrape. */
  #eventsSent = 0;
  #awakeSince: number | null = null;
  #awakeBefore = 0;

  /** `scrape` replaces the metrics of this process, for example by those of all workers. */
  constructor(scrape?: () => Promise<string>) {
    this.#scrape = scrape ?? (() => this.registry.metrics());
    const eventsSent: Counter = this.#counter(
      'events_sent_total',
      'Events that were passed to a transport, once for each of their readers.',
      () => {
        eventsSent.inc(this.#eventsSent);
        this.#eventsSent = 0;
      },
    );
    const awake: Counter = this.#counter('awake_seconds_total', 'Seconds in which the gateway was not asleep.', () => {
      awake.reset();
      awake.inc(this.#awakeTime() / 1000);
    });
  }

  /** Resolves to the metrics in the text format of Prometheus. */
  scrape(): Promise<string> {
    return this.#scrape();
  }

  /** Adds the metrics of the process: memory, CPU, event loop lag. */
  addProcess(): void {
    collectDefaultMetrics({ register: this.registry });
  }

  /** Reports that the gateway woke up or fell asleep. */
  awake(awake: boolean): void {
    if (awake === (this.#awakeSince !== null)) return;
    this.#awakeBefore = this.#awakeTime();
    this.#awakeSince = awake ? performance.now() : null;
  }

  /** Reports that a reader was sent events, and for how many milliseconds the first of them had been known; null in a replay. */
  delivered(events: number, age: number | null): void {
    this.#eventsSent += events;
    if (age !== null) this.#delivery.observe(age / 1000);
  }

  /** Adds a gauge whose value is read at each scrape. `across`: how the gauges of several workers become one. */
  gauge(name: string, help: string, value: () => number, across: 'sum' | 'max' = 'sum'): void {
    const gauge: Gauge = new Gauge({
      name: `rowcast_${name}`,
      help,
      registers: [this.registry],
      aggregator: across,
      collect: () => gauge.set(value()),
    });
  }

  /** Adds a gauge with one value for each value of a label. */
  gaugeBy<Label extends string>(name: string, help: string, label: Label, values: () => Record<string, number>): void {
    const gauge: Gauge<Label> = new Gauge({
      name: `rowcast_${name}`,
      help,
      labelNames: [label],
      registers: [this.registry],
      collect: () => {
        for (const [key, value] of Object.entries(values())) {
          gauge.set({ [label]: key } as Record<Label, string>, value);
        }
      },
    });
  }

  #awakeTime(): number {
    return this.#awakeBefore + (this.#awakeSince === null ? 0 : performance.now() - this.#awakeSince);
  }

  #counter(name: string, help: string, collect: () => void = () => {}): Counter {
    return new Counter({ name: `rowcast_${name}`, help, registers: [this.registry], collect });
  }
}
