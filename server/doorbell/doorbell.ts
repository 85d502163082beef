/**
 * Decides when the tail is read, so that every committed row is found without another write (I9), at the lowest cost: at
 * low rates each writer rings, at high rates the gateway holds the gate, reads on an interval, and writers need not ring.
 * The listener calls `ring`; the doorbell calls the tail and the gate. Its model is in docs/model.
 */
import type { Metrics } from '../ground/metrics.js';
import type { Clock } from '../ports/clock.js';
import type { Gate, ReadableTail } from '../ports/doorbell.js';

export interface DoorbellOptions {
  readonly tail: ReadableTail;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Rings per second from which the gateway wakes up, and commits per second below which it falls asleep. */
  readonly wakeRate: number;
  readonly sleepRate: number;
  /** Time between reads while awake, in milliseconds. */
  readonly awakeInterval: number;
  /** Time between safety reads while asleep, in milliseconds. */
  readonly safetyInterval: number;
}

/**
 * `asleep`: every writer rings, and each ring causes a read.
 * `waking`: reads on an interval, and queues for the gate. Once it is held, writers find it taken and do not ring.
 * `awake`: holds the gate.
 * `leaving`: releases the gate, and still reads on the interval.
 * `settling`: has released the gate, and still reads on the interval: a writer that found the gate taken may not have
 * committed yet, and will not ring. Its transaction number was assigned before the gate was free. The gateway therefore
 * takes a transaction number after that, and sleeps when every transaction up to it has ended. (The xmax of a snapshot does
 * not work: it is one above the newest transaction that has ended, and newer open ones are not below it.)
 */
export type DoorbellState = 'asleep' | 'waking' | 'awake' | 'leaving' | 'settling';

type Phase =
  | { readonly state: Exclude<DoorbellState, 'settling'> }
  | {
      readonly state: 'settling';
      readonly since: number;
      /** All transactions up to this number must end; null until it is known. */
      upTo: bigint | null;
    };

/** Rates are counted over windows of this length, in milliseconds. */
const WINDOW = 500;

/** The interval of reads while settling, as a fraction of the time since it began: reads become rarer while a transaction stays open. */
const SETTLING_PACE = 0.01;

export class Doorbell {
  readonly #tail: ReadableTail;
  readonly #gate: Gate;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  /** Per window. */
  readonly #wakeRings: number;
  readonly #sleepCommits: number;
  readonly #awakeInterval: number;
  readonly #safetyInterval: number;
  #phase: Phase = { state: 'asleep' };
  #reading: Promise<void> | null = null;
  #leaving: Promise<void> = Promise.resolve();
  /** A ring has arrived since the last read began. */
  #ringPending = false;
  /** Rows were found whose writers did not ring, and the other gateways were not rung for them yet. */
  #mustRingOthers = false;
  /** The last safety read found rows for which no ring has arrived. */
  #foundUnrung = false;
  #stopped = false;
  #window = { start: 0, rings: 0, commits: 0 };
  #cancelTimer: () => void = () => {};

  constructor(options: DoorbellOptions) {
    const { tail, gate, clock, metrics, wakeRate, sleepRate, awakeInterval, safetyInterval } = options;
    this.#tail = tail;
    this.#gate = gate;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#wakeRings = (wakeRate * WINDOW) / 1000;
    this.#sleepCommits = (sleepRate * WINDOW) / 1000;
    this.#awakeInterval = awakeInterval;
    this.#safetyInterval = safetyInterval;
  }

  get state(): DoorbellState {
    return this.#phase.state;
  }

  /** Rows were inserted, or may have been while the listener was not connected. */
  ring(): void {
    if (this.#stopped) return;
    this.#foundUnrung = false;
    this.#metrics.rings.inc();
    this.#count(1, 0);
    // The next read on the interval is soon enough. Most of these rings come from this gateway itself, for the others.
    if (this.state !== 'asleep' && this.state !== 'settling') return;
    if (this.#window.rings >= this.#wakeRings) this.#wake();
    this.#ringPending = true;
    this.#turn();
  }

  /** Stops reading. Resolves when the last read has ended, the gate is free, and the other gateways were rung. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer();
    await this.#reading;
    await this.#leaving;
    const ringOthers = this.#mustRingOthers || this.state !== 'asleep';
    await this.#gate.leave();
    // Writers that found the gate taken since the last read did not ring.
    if (ringOthers) await this.#tail.ring().catch(() => {});
  }

  #turn(): void {
    if (this.#stopped || this.#reading !== null) return;
    this.#cancelTimer();
    const safety = !this.#ringPending && this.state === 'asleep';
    this.#ringPending = false;
    this.#reading = this.#read(safety).finally(() => {
      this.#reading = null;
      if (this.#stopped) return;
      // The rows of a ring that arrived during the read may not be in its snapshot.
      if (this.#ringPending) return this.#turn();
      this.#cancelTimer = this.#clock.after(this.#delay(), () => this.#turn());
    });
  }

  /** The time until the next read without a ring, in milliseconds. */
  #delay(): number {
    if (this.#phase.state === 'asleep') return this.#safetyInterval;
    if (this.#phase.state !== 'settling') return this.#awakeInterval;
    // Without this, a transaction that stays open for hours would cause 200 reads a second.
    const pace = (this.#clock.now() - this.#phase.since) * SETTLING_PACE;
    return Math.max(this.#awakeInterval, Math.min(pace, this.#safetyInterval));
  }

  /** `safety`: a read without a ring while asleep. */
  async #read(safety: boolean): Promise<void> {
    const phase = this.#phase;
    try {
      if (phase.state === 'settling') phase.upTo ??= await this.#tail.newestTransaction().catch(() => null);
      const { commits, xmin } = await this.#tail.read();
      if (this.state === 'awake') this.#gate.renew();
      this.#metrics.reads.inc();
      if (this.#foundUnrung && safety) this.#metrics.unannounced.inc();
      this.#foundUnrung = safety && commits > 0 && !this.#ringPending;
      // Writers that found the gate taken, by any gateway, did not ring.
      if (commits > 0 && this.state !== 'asleep') {
        this.#metrics.silentCommits.inc(commits);
        this.#mustRingOthers = true;
      }
      if (this.#mustRingOthers) await this.#tail.ring();
      this.#mustRingOthers = false;
      // If it has woken up and settles again since, another transaction number applies.
      if (phase === this.#phase && phase.state === 'settling' && phase.upTo !== null && xmin > phase.upTo) {
        this.#enter({ state: 'asleep' });
      }
      this.#count(0, commits);
    } catch {
      // The database cannot be reached. The tail and the listener log it, and ring when they are connected again.
    }
  }

  #count(rings: number, commits: number): void {
    const now = this.#clock.now();
    if (now - this.#window.start >= WINDOW) {
      const calm = this.#window.commits < this.#sleepCommits;
      if (calm && (this.state === 'awake' || this.state === 'waking')) this.#leaving = this.#fallAsleep();
      this.#window = { start: now, rings: 0, commits: 0 };
    }
    this.#window.rings += rings;
    this.#window.commits += commits;
  }

  /** Reads on the interval start before the gate is requested: as soon as it is held, writers do not ring. */
  #wake(): void {
    if (this.state !== 'asleep' && this.state !== 'settling') return;
    this.#enter({ state: 'waking' });
    this.#gate.take({
      onTaken: () => {
        if (this.state === 'waking') this.#enter({ state: 'awake' });
      },
      onLost: () => this.#settle(),
    });
  }

  async #fallAsleep(): Promise<void> {
    this.#enter({ state: 'leaving' });
    await this.#gate.leave();
    this.#settle();
  }

  #settle(): void {
    // All rows that were rung for so far were read, so that their rings must not wake the gateway again.
    this.#window = { start: this.#clock.now(), rings: 0, commits: 0 };
    this.#enter({ state: 'settling', since: this.#clock.now(), upTo: null });
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#metrics.awake(phase.state !== 'asleep');
  }
}
