import { Backoff } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import { RowcastError } from '../ground/error.js';
import type { Reply } from '../protocol/index.js';
import type { Connection, ConnectionEvents, Request, SessionState } from './connection.js';

/** The delays between attempts to load the code, in milliseconds. */
const BACKOFF = { base: 1_000, cap: 30_000 };

/** A connection whose code is loaded when it starts, so that pages that do not use it do not load it. */
export class LazyConnection<C extends Connection> implements Connection {
  readonly #load: () => Promise<C>;
  readonly #events: ConnectionEvents;
  readonly #backoff = new Backoff(BACKOFF);
  readonly #onLoaded: ((connection: C) => void)[] = [];
  #loaded: C | null = null;
  #state: SessionState = 'waiting';
  #started = false;
  /** When the next attempt to load is due; null while none is. */
  #retryAt: number | null = null;
  #cancelTimer: () => void = () => {};

  constructor(load: () => Promise<C>, events: ConnectionEvents) {
    this.#load = load;
    this.#events = events;
  }

  /** Null until the code is loaded. */
  get loaded(): C | null {
    return this.#loaded;
  }

  get state(): SessionState {
    return this.#loaded?.state ?? this.#state;
  }

  get transport(): C['transport'] {
    return this.#loaded?.transport ?? null;
  }

  get heardAt(): number | null {
    return this.#loaded?.heardAt ?? null;
  }

  get roundTrip(): number | null {
    return this.#loaded?.roundTrip ?? null;
  }

  get retryAt(): number | null {
    return this.#loaded?.retryAt ?? this.#retryAt;
  }

  /** Calls `task` with the connection: now, or when it is loaded and started. */
  use(task: (connection: C) => void): void {
    if (this.#loaded !== null) task(this.#loaded);
    else this.#onLoaded.push(task);
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#attempt();
  }

  request(command: Request, onReply?: (reply: Reply) => void): void {
    this.#loaded?.request(command, onReply); // before it is loaded nothing is connected, so there are no commands
  }

  reconnect(): void {
    if (this.#loaded !== null) return this.#loaded.reconnect();
    if (!this.#started) return this.start();
    if (this.#retryAt === null) return; // the code is being loaded
    this.#cancelTimer();
    this.#attempt();
  }

  close(): void {
    this.#started = true;
    this.#retryAt = null;
    this.#cancelTimer();
    if (this.#loaded !== null) return this.#loaded.close();
    if (this.#state !== 'closed') this.#enter('closed');
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.#state = state;
    this.#events.onState(state, error);
  }

  #attempt(): void {
    this.#retryAt = null;
    this.#load().then(
      (loaded) => {
        if (this.#state === 'closed') return;
        this.#loaded = loaded;
        loaded.start();
        for (const task of this.#onLoaded.splice(0)) task(loaded);
      },
      (reason: unknown) => {
        if (this.#state === 'closed') return;
        const delay = this.#backoff.next();
        this.#retryAt = systemClock.now() + delay;
        this.#cancelTimer = systemClock.after(delay, () => this.#attempt());
        this.#enter('waiting', new RowcastError('unavailable', String(reason)));
      },
    );
  }
}
