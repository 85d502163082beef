/**
 * Keeps one connection to the gateway over whatever transport works: visits the rung that the ladder names, visits the
 * next one when the connection is lost, and moves to a better one when that works. `close` ends all visits and timers
 * (I7).
 */
import type { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import type { RowcastError } from '../ground/error.js';
import type { Reply } from '../protocol/index.js';
import type { Rung, TransportName } from '../transport/rung.js';
import { Climb } from './climb.js';
import type { Connection, ConnectionEvents, Request, SessionState } from './connection.js';
import { type Environment, HINT_INTERVAL, SLOW_ATTEMPT } from './environment.js';
import { Ladder, STABLE } from './ladder.js';
import { Visit } from './visit.js';
import type { VisitEnd, VisitEvents } from './visit-options.js';

/** The transport that worked last, for the next session. */
export interface TransportMemory {
  read(): string | null;
  write(name: TransportName): void;
}

export interface SessionOptions {
  /** The best first. */
  readonly rungs: readonly Rung[];
  readonly memory?: TransportMemory | undefined;
  /** Asked for each connection. */
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly environment: Environment;
  /** See `VisitOptions`. */
  readonly times?: boolean | undefined;
  readonly events: ConnectionEvents;
  /** From 0 to 1. */
  readonly random?: () => number;
}

/** How long the handshake of a trial may take, in milliseconds. It delays nothing. */
const TRIAL_HANDSHAKE_TIMEOUT = 10_000;

export class Session implements Connection {
  readonly #rungs: readonly Rung[];
  readonly #memory: TransportMemory | undefined;
  readonly #token: () => Promise<string | undefined>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #environment: Environment;
  readonly #times: boolean;
  readonly #events: ConnectionEvents;
  readonly #visitEvents: VisitEvents;
  readonly #ladder: Ladder;
  readonly #climb: Climb;
  #state: SessionState = 'waiting';
  #started = false;
  #visit: Visit | null = null;
  #openedAt = 0;
  #heardAt: number | null = null;
  #roundTrip: number | null = null;
  #retryAt: number | null = null;
  /** No attempt is made before this time, neither after a network hint nor at the application's request. */
  #earliest = 0;
  #cancelTimer: () => void = () => {};
  #unwatch: () => void = () => {};

  constructor(options: SessionOptions) {
    const { rungs, memory, token, clock, backoff, environment, events, times = false, random = Math.random } = options;
    this.#rungs = rungs;
    this.#memory = memory;
    this.#token = token;
    this.#clock = clock;
    this.#random = random;
    this.#backoff = backoff;
    this.#environment = environment;
    this.#times = times;
    this.#events = events;
    const names = rungs.map(({ name }) => name);
    this.#ladder = new Ladder(names, memory?.read());
    this.#climb = new Climb({
      clock,
      random,
      visit: (name, events) => this.#makeVisit(name, TRIAL_HANDSHAKE_TIMEOUT, events),
      take: (visit) => this.#take(visit),
    });
    this.#visitEvents = {
      onConnected: () => this.#enter('connected'),
      onProven: () => this.#proven(),
      onFrame: (frame) => events.onFrame(frame),
      onEnd: (end) => this.#ended(end),
    };
  }

  get state(): SessionState {
    return this.#state;
  }

  get transport(): TransportName | null {
    return this.#state === 'connected' ? (this.#visit?.transport ?? null) : null;
  }

  get heardAt(): number | null {
    return this.#visit?.heardAt ?? this.#heardAt;
  }

  get roundTrip(): number | null {
    return this.#visit?.roundTrip ?? this.#roundTrip;
  }

  get retryAt(): number | null {
    return this.#retryAt;
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#unwatch = this.#environment.watch(
      () => this.#onNetworkHint(),
      () => this.#suspend(),
    );
    this.#open();
  }

  request(command: Request, onReply?: (reply: Reply) => void): void {
    this.#visit?.request(command, onReply);
  }

  reconnect(): void {
    if (!this.#started || this.#state === 'closed') return this.start();
    if (this.#state !== 'connected') return this.#onNetworkHint();
    this.#leave();
    this.#earliest = this.#openedAt + HINT_INTERVAL;
    this.#retryNow();
    this.#enter('waiting');
  }

  close(): void {
    this.#started = true;
    if (this.#state !== 'closed') this.#stop();
  }

  #stop(error?: RowcastError): void {
    this.#leave();
    this.#climb.stop();
    this.#unwatch();
    this.#enter('closed', error);
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.#state = state;
    this.#events.onState(state, error);
  }

  #leave(): void {
    this.#heardAt = this.heardAt;
    this.#roundTrip = this.roundTrip;
    this.#cancelTimer();
    this.#retryAt = null;
    this.#visit?.close();
    this.#visit = null;
  }

  #makeVisit(name: TransportName, handshakeTimeout: number, events: VisitEvents): Visit {
    const rung = this.#rungs.find((rung) => rung.name === name) as Rung; // the ladder has the names of these
    const common = { token: this.#token, clock: this.#clock, random: this.#random, times: this.#times };
    return new Visit({ ...common, rung, handshakeTimeout, events });
  }

  #open(error?: RowcastError): void {
    this.#leave();
    this.#openedAt = this.#clock.now();
    const visit = this.#makeVisit(this.#ladder.rung, this.#ladder.handshakeTimeout, this.#visitEvents);
    this.#visit = visit;
    this.#enter('connecting', error);
    if (this.#visit === visit) visit.begin(); // unless a listener closed the session
  }

  #proven(): void {
    this.#ladder.stands();
    this.#memory?.write(this.#ladder.rung);
    this.#climb.aim(this.#ladder.better);
  }

  /** Moves to a better rung, which is connected already. What was on its way over the old one is asked for again. */
  #take(visit: Visit): void {
    this.#leave();
    this.#visit = visit;
    visit.handOver(this.#visitEvents);
    this.#ladder.stands(visit.transport);
    this.#proven();
    this.#enter('connected');
  }

  #ended(end: VisitEnd): void {
    this.#leave();
    if (end.stops) return this.#stop(end.error);
    if (this.#ladder.lost(end)) return this.#open(end.error);
    this.#retry(end);
  }

  #retry({ error, lived, retryAfter, probed }: VisitEnd): void {
    if (lived !== null && lived >= STABLE) {
      this.#backoff.reset();
      if (this.#ladder.better.length === 0) this.#climb.reset();
    }
    const delay = retryAfter === undefined ? this.#backoff.next() : this.#backoff.after(retryAfter);
    this.#earliest = retryAfter === undefined ? this.#openedAt + HINT_INTERVAL : this.#clock.now() + delay;
    this.#openAfter(delay);
    if (probed) this.#retryNow();
    this.#enter('waiting', error);
  }

  #openAfter(delay: number): void {
    this.#cancelTimer();
    this.#retryAt = this.#clock.now() + delay;
    this.#cancelTimer = this.#clock.after(delay, () => this.#open());
  }

  /** Probes a connection, shortens a delay, and begins a slow attempt anew. */
  #onNetworkHint(): void {
    this.#climb.onNetworkHint();
    if (this.#state === 'connected') this.#visit?.probe();
    else if (this.#state === 'waiting') this.#retryNow();
    else if (this.#clock.now() - this.#openedAt >= SLOW_ATTEMPT) {
      // Counts as a failure; otherwise hints in quick succession would keep the client on a rung that hangs.
      this.#ladder.lost({ lived: null, transportAtFault: true });
      this.#open();
    }
  }

  /** One attempt as early as the limits allow. Those after it wait as after a first failure. */
  #retryNow(): void {
    this.#backoff.reset();
    this.#openAfter(Math.max(0, this.#earliest - this.#clock.now()));
  }

  /** The page is left. The browser keeps it only if it has no connection; if it is shown again a network hint follows. */
  #suspend(): void {
    this.#climb.stop();
    this.#leave();
    this.#earliest = 0;
    this.#enter('waiting');
  }
}
