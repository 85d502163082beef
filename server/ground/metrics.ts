import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

/** What a gateway counts. One set per gateway, so that several can live in one process. */
export class Metrics {
  readonly registry = new Registry();
  readonly rings = this.#counter('rings_total', 'Rings of the doorbell that were heard.');
  readonly silentCommits = this.#counter(
    'silent_commits_total',
    'Transactions found while not asleep: most of their writers found the gate taken and were spared the ring.',
  );
  readonly reads = this.#counter('tail_reads_total', 'Reads of the tail.');
  readonly commits = this.#counter('commits_total', 'Transactions with events that the tail has found.');
  readonly unannounced = this.#counter(
    'unannounced_reads_total',
    'Safety reads that found what nobody rang for, then or in the interval after it. Rises only when a ringer died, hung, or stopped while transactions were open.',
  );
  readonly opens = this.#counter('open_statements_total', 'Statements that asked where channels stand.');
  readonly pageStatements = this.#counter('page_statements_total', 'Statements that read pages of history.');
  readonly pages = this.#counter('pages_total', 'Pages of history that were read; one for all who want the same.');
  readonly turnedAway = this.#counter('turned_away_total', 'Connections that were told to come back later.');
  readonly #scrape: () => Promise<string>;
  #awakeSince: number | null = null;
  #awakeBefore = 0;

  /** `scrape`: where the figures of this process alone would not be the whole answer. */
  constructor(scrape?: () => Promise<string>) {
    this.#scrape = scrape ?? (() => this.registry.metrics());
    const awake: Counter = this.#counter('awake_seconds_total', 'Seconds in which the gateway was not asleep.', () => {
      awake.reset();
      awake.inc(this.#awakeTime() / 1000);
    });
  }

  /** In the text format of Prometheus. */
  scrape(): Promise<string> {
    return this.#scrape();
  }

  /** Adds what is known of the process as a whole: memory, CPU, event loop lag. */
  addProcess(): void {
    collectDefaultMetrics({ register: this.registry });
  }

  /** The gateway woke, or fell asleep. */
  awake(awake: boolean): void {
    if (awake === (this.#awakeSince !== null)) return;
    this.#awakeBefore = this.#awakeTime();
    this.#awakeSince = awake ? performance.now() : null;
  }

  /** A value that is asked for when somebody looks. */
  gauge(name: string, help: string, value: () => number): void {
    const gauge: Gauge = new Gauge({
      name: `rowcast_${name}`,
      help,
      registers: [this.registry],
      collect: () => gauge.set(value()),
    });
  }

  #awakeTime(): number {
    return this.#awakeBefore + (this.#awakeSince === null ? 0 : performance.now() - this.#awakeSince);
  }

  #counter(name: string, help: string, collect: () => void = () => {}): Counter {
    return new Counter({ name: `rowcast_${name}`, help, registers: [this.registry], collect });
  }
}
