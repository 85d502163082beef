import type { Backoff } from './backoff.js';
import type { Clock } from './clock.js';
import type { Environment } from './environment.js';
import { RowcastError } from './error.js';
import {
  type Command,
  closeStops,
  codeOfClose,
  errors,
  type Frame,
  PROTOCOL,
  parseFrame,
  type Reply,
} from './protocol/index.js';
import type { Link, Rung } from './transport/rung.js';

/** `connecting`: a link is being opened. `waiting`: the next one is opened after a delay. `closed`: none will be. */
export type SessionState = 'connecting' | 'connected' | 'waiting' | 'closed';

export interface SessionEvents {
  onState(state: SessionState, error?: RowcastError): void;
  onFrame(frame: Frame): void;
}

type WithoutId<C> = C extends { id: number } ? Omit<C, 'id'> : never;
export type Request = WithoutId<Command>;

export interface SessionOptions {
  readonly rung: Rung;
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly environment: Environment;
  readonly events: SessionEvents;
}

/** How long a link must have lived, in milliseconds, for the next failure to count as the first one. */
const STABLE = 5_000;

/** How long the gateway may take to answer `connect`, in milliseconds. */
const CONNECT_TIMEOUT = 10_000;

/** How long the other side may take to show that it lives, when there is reason to doubt it; in milliseconds. */
const PROBE_TIMEOUT = 3_000;

/** Between two attempts that do not wait for their turn, in milliseconds: signs come in bursts. */
const HURRY_INTERVAL = 1_000;

/**
 * Keeps one connection to the gateway: opens it, introduces itself, listens to its heart, and opens the next one
 * when it is lost. It owns every timer and link it makes; `close` ends them all (I7).
 */
export class Session {
  readonly #options: SessionOptions;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  #state: SessionState = 'waiting';
  #started = false;
  #link: Link | null = null;
  #visit = 0;
  #lastId = 0;
  #lastHeard = 0;
  #connectedAt = Number.POSITIVE_INFINITY;
  /** When the gateway told this link to come back, in milliseconds. */
  #retryAfter: number | undefined;
  /** A ping is out because there was reason to doubt, and nothing was heard since. */
  #doubted = false;
  #heartbeat = 0;
  #openedAt = 0;
  /** No attempt is hurried before this time. */
  #hurryFrom = 0;
  #cancelTimer: () => void = () => {};
  #unwatch: () => void = () => {};

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Opens the first link. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#unwatch = this.#options.environment.watch(() => this.#doubt());
    this.#open();
  }

  /** Sends a command; `onReply` gets its one reply, or nothing if the connection is lost before. */
  request(command: Request, onReply: (reply: Reply) => void = () => {}): void {
    this.#lastId += 1;
    this.#replies.set(this.#lastId, onReply);
    this.#link?.send(JSON.stringify({ ...command, id: this.#lastId }));
  }

  close(): void {
    this.#started = true;
    this.#drop();
    if (this.#state !== 'closed') this.#enter('closed');
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.#state = state;
    if (state === 'closed') this.#unwatch();
    this.#options.events.onState(state, error);
  }

  /** Forgets the link and everything that was to come of it. */
  #drop(): void {
    this.#visit += 1;
    this.#cancelTimer();
    this.#replies.clear();
    this.#link?.close();
    this.#link = null;
    this.#retryAfter = undefined;
    this.#doubted = false;
  }

  #open(): void {
    this.#drop();
    this.#openedAt = this.#options.clock.now();
    const visit = this.#visit;
    const current = () => visit === this.#visit;
    this.#enter('connecting');
    if (!current()) return;
    // The rung has a limit of its own for what comes after.
    this.#cancelTimer = this.#options.clock.after(CONNECT_TIMEOUT, () => this.#lost(1006, 'no token in time'));
    this.#options.token().then(
      (token) => current() && this.#dial(current, token),
      (reason: unknown) => current() && this.#retry(new RowcastError('unavailable', `no token: ${String(reason)}`)),
    );
  }

  #dial(current: () => boolean, token: string | undefined): void {
    this.#cancelTimer();
    this.#link = this.#options.rung.open({
      onOpen: () => current() && this.#connect(token),
      onText: (text) => current() && this.#receive(text),
      onClose: (code, reason) => current() && this.#lost(code, reason),
    });
  }

  #connect(token: string | undefined): void {
    this.#lastHeard = this.#options.clock.now();
    this.#cancelTimer = this.#options.clock.after(CONNECT_TIMEOUT, () => this.#lost(1006, 'no answer to connect'));
    this.request({ type: 'connect', protocol: PROTOCOL, ...(token === undefined ? {} : { token }) }, (reply) => {
      if (reply.type !== 'connected') return; // a refusal is followed by a close that carries its code
      this.#connectedAt = this.#options.clock.now();
      this.#cancelTimer();
      this.#heartbeat = reply.heartbeat;
      this.#listen();
      this.#enter('connected');
    });
  }

  #receive(text: string): void {
    this.#lastHeard = this.#options.clock.now();
    this.#doubted = false;
    const frame = parseFrame(text);
    if (frame === null) return;
    const id = 'id' in frame ? frame.id : undefined;
    if (frame.type === 'error' && id === undefined) this.#retryAfter = frame.retryAfter;
    if (id === undefined) return this.#options.events.onFrame(frame);
    const onReply = this.#replies.get(id);
    this.#replies.delete(id);
    onReply?.(frame as Reply);
  }

  /**
   * A socket may say OPEN long after the other side is gone: only what arrives proves that it lives. Silence counts
   * up to when this was due: what came to a machine that slept, or to a page that was frozen, is still to be read.
   */
  #listen(due = this.#options.clock.now()): void {
    const silence = due - this.#lastHeard;
    if (silence >= 2 * this.#heartbeat)
      return this.#lost(errors.heartbeat_timeout.close, 'nothing was heard for two heartbeats');
    if (silence >= this.#heartbeat / 2) this.request({ type: 'ping' });
    const next = this.#options.clock.now() + this.#heartbeat / 2;
    this.#cancelTimer = this.#options.clock.after(this.#heartbeat / 2, () => this.#listen(next));
  }

  /** Things may not be as they were: a socket is asked, a delay is cut short, and a slow attempt begun anew. */
  #doubt(): void {
    if (this.#state === 'connected') this.#probe();
    else if (this.#state === 'waiting') this.#hurry();
    else if (this.#options.clock.now() - this.#openedAt >= PROBE_TIMEOUT) this.#open();
  }

  #probe(): void {
    if (this.#doubted) return; // it is being asked
    this.#doubted = true;
    this.request({ type: 'ping' });
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(Math.min(PROBE_TIMEOUT, this.#heartbeat), () => {
      if (!this.#doubted) return this.#listen();
      this.#lost(errors.heartbeat_timeout.close, 'nothing was heard when it was asked');
      if (this.#state === 'waiting') this.#hurry();
    });
  }

  /** At once, this one time: the attempts after it wait as after any first failure. */
  #hurry(): void {
    const { backoff, clock } = this.#options;
    backoff.reset();
    this.#cancelTimer();
    this.#cancelTimer = clock.after(Math.max(0, this.#hurryFrom - clock.now()), () => this.#open());
  }

  #lost(code: number, reason: string): void {
    const stops = closeStops(code);
    const error = new RowcastError(codeOfClose(code) ?? 'unavailable', reason || 'the connection was lost', !stops);
    if (stops) {
      this.#drop();
      return this.#enter('closed', error);
    }
    this.#retry(error);
  }

  #retry(error: RowcastError): void {
    const { backoff, clock } = this.#options;
    if (clock.now() - this.#connectedAt >= STABLE) backoff.reset();
    const delay = this.#retryAfter === undefined ? backoff.next() : backoff.after(this.#retryAfter);
    this.#hurryFrom = this.#retryAfter === undefined ? this.#openedAt + HURRY_INTERVAL : clock.now() + delay;
    this.#connectedAt = Number.POSITIVE_INFINITY;
    this.#drop();
    const visit = this.#visit;
    this.#enter('waiting', error);
    if (visit !== this.#visit) return; // the listener closed the session
    this.#cancelTimer = clock.after(delay, () => this.#open());
  }
}
