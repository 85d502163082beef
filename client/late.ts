import { Backoff } from './ground/backoff.js';
import { systemClock } from './ground/clock.js';
import { RowcastError } from './ground/error.js';
import type { Reply } from './protocol/index.js';
import type { Carrier, Request, SessionEvents, SessionState } from './session/connection.js';

/** Between attempts to load the code, in milliseconds. */
const BACKOFF = { base: 1_000, cap: 30_000 };

/** Stands for a carrier whose code is loaded when it is started: only who uses it pays for it. */
export class LateCarrier<C extends Carrier> implements Carrier {
  readonly #load: () => Promise<C>;
  readonly #events: SessionEvents;
  readonly #onStarted: (carrier: C) => void;
  readonly #backoff = new Backoff(BACKOFF);
  #loaded: C | null = null;
  #state: SessionState = 'waiting';
  #started = false;
  #cancelTimer: () => void = () => {};

  /** `onStarted`: it has come, and was started. */
  constructor(load: () => Promise<C>, events: SessionEvents, onStarted: (carrier: C) => void = () => {}) {
    this.#load = load;
    this.#onStarted = onStarted;
    this.#events = events;
  }

  /** Null until it has come. */
  get loaded(): C | null {
    return this.#loaded;
  }

  get state(): SessionState {
    return this.#loaded?.state ?? this.#state;
  }

  get transport(): Carrier['transport'] {
    return this.#loaded?.transport ?? null;
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#attempt();
  }

  request(command: Request, onReply?: (reply: Reply) => void): void {
    this.#loaded?.request(command, onReply); // before it has come, nobody is told `connected`
  }

  close(): void {
    this.#started = true;
    this.#cancelTimer();
    if (this.#loaded !== null) return this.#loaded.close();
    if (this.#state !== 'closed') this.#enter('closed');
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.#state = state;
    this.#events.onState(state, error);
  }

  #attempt(): void {
    this.#load().then(
      (loaded) => {
        if (this.#state === 'closed') return;
        this.#loaded = loaded;
        loaded.start();
        this.#onStarted(loaded);
      },
      (reason: unknown) => {
        if (this.#state === 'closed') return;
        this.#cancelTimer = systemClock.after(this.#backoff.next(), () => this.#attempt());
        this.#enter('waiting', new RowcastError('unavailable', String(reason)));
      },
    );
  }
}
