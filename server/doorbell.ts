import type { Clock, Gate, Snapshot, TailRead } from './ports.js';

export interface DoorbellOptions {
  /** Reads the tail once; rejects while the database cannot be reached. */
  readonly read: () => Promise<TailRead>;
  /** Null: every insert rings, and there is nothing to be awake for. */
  readonly gate: Gate | null;
  readonly clock: Clock;
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
 * `settling`: has let go of the gate, and still reads on the interval: a writer that found the gate taken may not
 * have committed yet, and will not ring again. It may sleep when every transaction has ended that was in progress
 * in a snapshot taken after the gate was free.
 */
export type DoorbellState = 'asleep' | 'waking' | 'awake' | 'leaving' | 'settling';

/** Rates are counted over windows of this length, in milliseconds. */
const WINDOW = 500;

/** Decides when the tail is read, so that no committed row waits for another write (I9), at the least cost. */
export class Doorbell {
  readonly #options: DoorbellOptions;
  #state: DoorbellState = 'asleep';
  #settleAt: Snapshot | null = null;
  #reading: Promise<void> | null = null;
  #rung = false;
  #stopped = false;
  #window = { start: 0, rings: 0, commits: 0 };
  #cancelTimer: () => void = () => {};

  constructor(options: DoorbellOptions) {
    this.#options = options;
  }

  get state(): DoorbellState {
    return this.#state;
  }

  /** Somebody inserted, or may have while nobody listened: there is something to read. */
  ring(): void {
    if (this.#stopped) return;
    this.#count(1, 0);
    if (this.#window.rings >= (this.#options.wakeRate * WINDOW) / 1000) this.#wake();
    this.#rung = true;
    this.#turn();
  }

  /** Reads no more. Resolves when the last read has ended and the gate is free. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer();
    await this.#reading;
    await this.#options.gate?.leave();
  }

  #turn(): void {
    if (this.#stopped || this.#reading !== null) return;
    this.#cancelTimer();
    this.#rung = false;
    this.#reading = this.#read().finally(() => {
      this.#reading = null;
      if (this.#stopped) return;
      // What rang during the read may be too late for its snapshot.
      if (this.#rung) return this.#turn();
      const { awakeInterval, safetyInterval } = this.#options;
      const delay = this.#state === 'asleep' ? safetyInterval : awakeInterval;
      this.#cancelTimer = this.#options.clock.after(delay, () => this.#turn());
    });
  }

  async #read(): Promise<void> {
    // Only a read that began after the gate was free tells which writers have to be waited for.
    const free = this.#state === 'settling';
    try {
      const { commits, snapshot } = await this.#options.read();
      if (free) this.#settle(snapshot);
      this.#count(0, commits);
    } catch {
      // The database is away: the edges log it, and ring when it is back.
    }
  }

  #settle(snapshot: Snapshot): void {
    if (this.#state !== 'settling') return;
    this.#settleAt ??= snapshot;
    if (snapshot.xmin >= this.#settleAt.xmax) this.#state = 'asleep';
  }

  #count(rings: number, commits: number): void {
    const now = this.#options.clock.now();
    if (now - this.#window.start >= WINDOW) {
      const calm = this.#window.commits < (this.#options.sleepRate * WINDOW) / 1000;
      if (calm && (this.#state === 'awake' || this.#state === 'waking')) void this.#fallAsleep();
      this.#window = { start: now, rings: 0, commits: 0 };
    }
    this.#window.rings += rings;
    this.#window.commits += commits;
  }

  /** Reading on the interval has to begin before the lock is asked for: from then on nobody rings. */
  #wake(): void {
    const { gate } = this.#options;
    if (gate === null || (this.#state !== 'asleep' && this.#state !== 'settling')) return;
    this.#state = 'waking';
    gate.take({
      onTaken: () => {
        if (this.#state === 'waking') this.#state = 'awake';
      },
      onLost: () => this.#free(),
    });
  }

  async #fallAsleep(): Promise<void> {
    this.#state = 'leaving';
    await this.#options.gate?.leave();
    this.#free();
  }

  #free(): void {
    this.#settleAt = null;
    this.#state = 'settling';
  }
}
