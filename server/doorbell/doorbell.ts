import type { Metrics } from '../ground/metrics.js';
import type { Clock } from '../ports/clock.js';
import type { Gate, ReadableTail } from '../ports/doorbell.js';

export interface DoorbellOptions {
  readonly tail: ReadableTail;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Rings per second from which it wakes, commits per second below which it falls asleep. */
  readonly wakeRate: number;
  readonly sleepRate: number;
  /** In milliseconds. */
  readonly awakeInterval: number;
  readonly safetyInterval: number;
}

/**
 * `asleep`: every insert rings, and each ring is a read.
 * `waking`: reads on an interval and queues for the gate; from then on inserts find it taken and do not ring.
 * `awake`: holds the gate.
 * `leaving`: gives the gate back, and reads on.
 * `settling`: has let go of the gate, and still reads on the interval: a writer that found the gate taken may not
 * have committed yet, and will not ring again. But it holds a transaction number since before the gate was free, so
 * the gateway takes a number of its own after that, and may sleep when every transaction up to it has ended. (The
 * xmax of a snapshot would not do: it is one above the newest transaction that has ENDED, and hides newer ones.)
 */
export type DoorbellState = 'asleep' | 'waking' | 'awake' | 'leaving' | 'settling';

type Phase =
  | { readonly state: Exclude<DoorbellState, 'settling'> }
  | {
      readonly state: 'settling';
      readonly since: number;
      /** The transaction number up to which all have to end; null until it is known. */
      upTo: bigint | null;
    };

/** Rates are counted over windows of this length, in milliseconds. */
const WINDOW = 500;

/** Of the time that settling has lasted, the part that a transaction may wait to be found when it ends at last. */
const SETTLING_PACE = 0.01;

/** Decides when the tail is read, so that no committed row waits for another write (I9), at the least cost. */
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
  #rung = false;
  /** Was found while nobody rang, and has not been passed on yet. */
  #owed = false;
  /** A safety read found what nobody has rung for so far. */
  #unannounced = false;
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

  /** Somebody inserted, or may have while nobody listened: there is something to read. */
  ring(): void {
    if (this.#stopped) return;
    this.#unannounced = false;
    this.#metrics.rings.inc();
    this.#count(1, 0);
    // On the interval it comes soon enough, and what rings is mostly this gateway itself, for the others.
    if (this.state !== 'asleep' && this.state !== 'settling') return;
    if (this.#window.rings >= this.#wakeRings) this.#wake();
    this.#rung = true;
    this.#turn();
  }

  /** Reads no more. Resolves when the last read has ended, the gate is free and the others know. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer();
    await this.#reading;
    await this.#leaving;
    const mayOwe = this.#owed || this.state !== 'asleep';
    await this.#gate.leave();
    // What was written since the last read rang for nobody either.
    if (mayOwe) await this.#tail.ring().catch(() => {});
  }

  #turn(): void {
    if (this.#stopped || this.#reading !== null) return;
    this.#cancelTimer();
    const safety = !this.#rung && this.state === 'asleep';
    this.#rung = false;
    this.#reading = this.#read(safety).finally(() => {
      this.#reading = null;
      if (this.#stopped) return;
      // What rang during the read may be too late for its snapshot.
      if (this.#rung) return this.#turn();
      this.#cancelTimer = this.#clock.after(this.#delay(), () => this.#turn());
    });
  }

  /** Until the next read, if nobody rings. */
  #delay(): number {
    if (this.#phase.state === 'asleep') return this.#safetyInterval;
    if (this.#phase.state !== 'settling') return this.#awakeInterval;
    // A transaction that stays open for hours is not asked after 200 times a second.
    const pace = (this.#clock.now() - this.#phase.since) * SETTLING_PACE;
    return Math.max(this.#awakeInterval, Math.min(pace, this.#safetyInterval));
  }

  /** `safety`: nobody has asked for it. */
  async #read(safety: boolean): Promise<void> {
    const phase = this.#phase;
    try {
      if (phase.state === 'settling') phase.upTo ??= await this.#tail.newestTransaction().catch(() => null);
      const { commits, xmin } = await this.#tail.read();
      if (this.state === 'awake') this.#gate.renew();
      this.#metrics.reads.inc();
      if (this.#unannounced && safety) this.#metrics.unannounced.inc();
      this.#unannounced = safety && commits > 0 && !this.#rung;
      // Writers that found the gate taken, by whichever gateway, rang for nobody.
      if (commits > 0 && this.state !== 'asleep') {
        this.#metrics.silentCommits.inc(commits);
        this.#owed = true;
      }
      if (this.#owed) await this.#tail.ring();
      this.#owed = false;
      // Meanwhile it may have woken, and settle anew: then another number counts.
      if (phase === this.#phase && phase.state === 'settling' && phase.upTo !== null && xmin > phase.upTo) {
        this.#enter({ state: 'asleep' });
      }
      this.#count(0, commits);
    } catch {
      // The database is away: the edges log it, and ring when it is back.
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

  /** Reading on the interval has to begin before the lock is asked for: from then on nobody rings. */
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
    // What rang so far has been read: it is no reason to wake again at once.
    this.#window = { start: this.#clock.now(), rings: 0, commits: 0 };
    this.#enter({ state: 'settling', since: this.#clock.now(), upTo: null });
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#metrics.awake(phase.state !== 'asleep');
  }
}
