import type { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import type { RowcastError } from '../ground/error.js';
import type { Reply } from '../protocol/index.js';
import type { Rung, TransportName } from '../transport/rung.js';
import { Climb } from './climb.js';
import type { Carrier, Request, SessionEvents, SessionState } from './connection.js';
import { type Environment, HURRY_INTERVAL, SLOW } from './environment.js';
import { Ladder, STABLE } from './ladder.js';
import { type Ending, Visit, type VisitEvents } from './visit.js';

/** The rung that worked last, for the next session. */
export interface Remembered {
  read(): string | null;
  write(name: TransportName): void;
}

export interface SessionOptions {
  /** The best first. */
  readonly rungs: readonly Rung[];
  readonly remembered?: Remembered | undefined;
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly environment: Environment;
  readonly events: SessionEvents;
  readonly random?: () => number;
}

/** How long the handshake of a trial may take, in milliseconds: nobody waits for it. */
const TRIAL_PATIENCE = 10_000;

/**
 * Keeps one connection to the gateway, whatever carries it: visits the rung that the ladder names, and the next one
 * when that is lost; moves to a better one when that stands. `close` ends every visit and timer (I7).
 */
export class Session implements Carrier {
  readonly #options: SessionOptions;
  readonly #ladder: Ladder;
  readonly #climb: Climb;
  readonly #events: VisitEvents;
  #state: SessionState = 'waiting';
  #started = false;
  #visit: Visit | null = null;
  #openedAt = 0;
  /** No attempt is hurried before this time. */
  #hurryFrom = 0;
  #cancelTimer: () => void = () => {};
  #unwatch: () => void = () => {};

  constructor(options: SessionOptions) {
    this.#options = options;
    const names = options.rungs.map(({ name }) => name);
    const first = names.find((name) => name === options.remembered?.read());
    this.#ladder = new Ladder(names, first);
    this.#climb = new Climb({
      clock: options.clock,
      random: options.random ?? Math.random,
      visit: (name, events) => this.#makeVisit(name, TRIAL_PATIENCE, events),
      take: (visit) => this.#take(visit),
    });
    this.#events = {
      onConnected: () => this.#enter('connected'),
      onProven: () => this.#proven(),
      onFrame: (frame) => options.events.onFrame(frame),
      onEnd: (ending) => this.#ended(ending),
    };
  }

  get state(): SessionState {
    return this.#state;
  }

  get transport(): TransportName | null {
    return this.#state === 'connected' ? (this.#visit?.transport ?? null) : null;
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#unwatch = this.#options.environment.watch(
      () => this.#doubt(),
      () => this.#rest(),
    );
    this.#open();
  }

  request(command: Request, onReply?: (reply: Reply) => void): void {
    this.#visit?.request(command, onReply);
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
    this.#options.events.onState(state, error);
  }

  #leave(): void {
    this.#cancelTimer();
    this.#visit?.close();
    this.#visit = null;
  }

  #makeVisit(name: TransportName, patience: number, events: VisitEvents): Visit {
    const { rungs, token, clock, random = Math.random } = this.#options;
    const rung = rungs.find((rung) => rung.name === name);
    if (rung === undefined) throw new Error(`no rung ${name}`);
    return new Visit({ rung, token, clock, random, patience, events });
  }

  #open(error?: RowcastError): void {
    this.#leave();
    this.#openedAt = this.#options.clock.now();
    const visit = this.#makeVisit(this.#ladder.rung, this.#ladder.patience, this.#events);
    this.#visit = visit;
    this.#enter('connecting', error);
    if (this.#visit === visit) visit.begin(); // else the listener closed the session
  }

  #proven(): void {
    this.#ladder.stands();
    this.#options.remembered?.write(this.#ladder.rung);
    this.#climb.aim(this.#ladder.better);
  }

  /** The better rung is connected before the present one is left; what was on its way there is asked for again here. */
  #take(visit: Visit): void {
    this.#leave();
    this.#visit = visit;
    visit.handTo(this.#events);
    this.#ladder.stands(visit.transport);
    this.#proven();
    this.#enter('connected');
  }

  #ended(ending: Ending): void {
    this.#visit = null;
    if (ending.stops) return this.#stop(ending.error);
    if (this.#ladder.lost(ending)) return this.#open(ending.error);
    this.#retry(ending);
  }

  #retry({ error, lived, retryAfter, doubted }: Ending): void {
    const { backoff, clock } = this.#options;
    if (lived !== null && lived >= STABLE) {
      backoff.reset();
      if (this.#ladder.better.length === 0) this.#climb.reset();
    }
    const delay = retryAfter === undefined ? backoff.next() : backoff.after(retryAfter);
    this.#hurryFrom = retryAfter === undefined ? this.#openedAt + HURRY_INTERVAL : clock.now() + delay;
    this.#cancelTimer = clock.after(delay, () => this.#open());
    if (doubted) this.#hurry();
    this.#enter('waiting', error);
  }

  /** Things may not be as they were: a link is asked, a delay is cut short, and a slow attempt begun anew. */
  #doubt(): void {
    this.#climb.hurry();
    if (this.#state === 'connected') this.#visit?.probe();
    else if (this.#state === 'waiting') this.#hurry();
    else if (this.#options.clock.now() - this.#openedAt >= SLOW) {
      this.#ladder.lost({ lived: null, blameless: false }); // else signs without end would keep it on a rung that hangs
      this.#open();
    }
  }

  /** At once, this one time: the attempts after it wait as after any first failure. */
  #hurry(): void {
    const { backoff, clock } = this.#options;
    backoff.reset();
    this.#cancelTimer();
    this.#cancelTimer = clock.after(Math.max(0, this.#hurryFrom - clock.now()), () => this.#open());
  }

  /** The page is left, and perhaps kept by the browser, which it does only without connections. A sign ends the rest. */
  #rest(): void {
    this.#climb.stop();
    this.#leave();
    this.#hurryFrom = 0;
    this.#enter('waiting');
  }
}
