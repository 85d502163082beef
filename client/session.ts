import type { Backoff } from './backoff.js';
import type { Clock } from './clock.js';
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
  readonly events: SessionEvents;
}

/** How long a link must have lived, in milliseconds, for the next failure to count as the first one. */
const STABLE = 5_000;

/** How long the gateway may take to answer `connect`, in milliseconds. */
const CONNECT_TIMEOUT = 10_000;

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
  #cancelTimer: () => void = () => {};

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
    this.#options.events.onState(state, error);
  }

  /** Forgets the link and everything that was to come of it. */
  #drop(): void {
    this.#visit += 1;
    this.#cancelTimer();
    this.#replies.clear();
    this.#link?.close();
    this.#link = null;
  }

  #open(): void {
    this.#drop();
    const visit = this.#visit;
    const current = () => visit === this.#visit;
    this.#enter('connecting');
    if (!current()) return;
    this.#options.token().then(
      (token) => current() && this.#dial(current, token),
      (reason: unknown) => current() && this.#retry(new RowcastError('unavailable', `no token: ${String(reason)}`)),
    );
  }

  #dial(current: () => boolean, token: string | undefined): void {
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
      this.#listen(reply.heartbeat);
      this.#enter('connected');
    });
  }

  #receive(text: string): void {
    this.#lastHeard = this.#options.clock.now();
    const frame = parseFrame(text);
    if (frame === null) return;
    const id = 'id' in frame ? frame.id : undefined;
    if (id === undefined) return this.#options.events.onFrame(frame);
    const onReply = this.#replies.get(id);
    this.#replies.delete(id);
    onReply?.(frame as Reply);
  }

  /** A socket may say OPEN long after the other side is gone: only what arrives proves that it lives. */
  #listen(heartbeat: number): void {
    const silence = this.#options.clock.now() - this.#lastHeard;
    if (silence >= 2 * heartbeat)
      return this.#lost(errors.heartbeat_timeout.close, 'nothing was heard for two heartbeats');
    if (silence >= heartbeat / 2) this.request({ type: 'ping' });
    this.#cancelTimer = this.#options.clock.after(heartbeat / 2, () => this.#listen(heartbeat));
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
    if (this.#options.clock.now() - this.#connectedAt >= STABLE) this.#options.backoff.reset();
    this.#connectedAt = Number.POSITIVE_INFINITY;
    this.#drop();
    const visit = this.#visit;
    this.#enter('waiting', error);
    if (visit !== this.#visit) return; // the listener closed the session
    this.#cancelTimer = this.#options.clock.after(this.#options.backoff.next(), () => this.#open());
  }
}
