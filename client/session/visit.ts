import { Backoff, type BackoffLimits } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import { RowcastError } from '../ground/error.js';
import {
  type Command,
  closeStops,
  codeOfClose,
  type Frame,
  outcomeOf,
  outcomes,
  PROTOCOL,
  type Reply,
} from '../protocol/index.js';
import type { Link, Rung } from '../transport/rung.js';
import type { Request } from './connection.js';
import type { Fate } from './ladder.js';

/** How a visit ended of its own accord. */
export interface Ending extends Fate {
  readonly error: RowcastError;
  /** The gateway said to stay away. */
  readonly stops: boolean;
  /** When the gateway said to come back, in milliseconds from now. */
  readonly retryAfter: number | undefined;
  /** There had been reason to doubt the way, so that it may be another one now. */
  readonly doubted: boolean;
}

export interface VisitEvents {
  onConnected(): void;
  /** After `onConnected`: the way is known to carry what is sent, as it is sent. */
  onProven(): void;
  /** Every frame that is no reply to a command. */
  onFrame(frame: Frame): void;
  /** Nothing more comes. */
  onEnd(ending: Ending): void;
}

export interface VisitOptions {
  readonly rung: Rung;
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  /** From 0 to 1. */
  readonly random: () => number;
  /** How long opening and introducing may take together, in milliseconds. */
  readonly patience: number;
  readonly events: VisitEvents;
}

/** In milliseconds. */
const TOKEN_TIMEOUT = 10_000;

/** Between attempts to get a fresh token for a connection that stands, in milliseconds. */
const REFRESH: BackoffLimits = { base: 500, cap: 8_000 };

/** How long the other side may take to show that it lives, when there is reason to doubt it; in milliseconds. */
const PROBE_TIMEOUT = 3_000;

/** The gateway writes a comment one second after it opened a stream; a proxy that holds it back for so long is buffering. */
const PROOF_TIMEOUT = 4_000;

/**
 * One visit to one rung, from the token to the end: opens a link, introduces itself, listens to its heart, and brings a
 * fresh token when the gateway pauses for one. It owns the timers and the link it makes; `close` ends them (I7).
 */
export class Visit {
  readonly #options: VisitOptions;
  #events: VisitEvents;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  /** What was said in a pause, to be said after it; null while there is none. */
  #held: (() => void)[] | null = null;
  #link: Link | null = null;
  #over = false;
  #lastId = 0;
  #lastHeard = 0;
  #heartbeat = 0;
  #connectedAt: number | null = null;
  #proven = false;
  #retryAfter: number | undefined;
  /** The gateway told why it ends the connection, and that is not the way's fault. */
  #spoke = false;
  /** A ping is out because there was reason to doubt, and nothing was heard since. */
  #doubted = false;
  /** The last one that was good. */
  #token: string | undefined;
  #cancelTimer: () => void = () => {};
  #cancelToken: () => void = () => {};
  #cancelProof: () => void = () => {};

  constructor(options: VisitOptions) {
    this.#options = options;
    this.#events = options.events;
  }

  get transport(): Rung['name'] {
    return this.#options.rung.name;
  }

  begin(): void {
    this.#ask(
      (token) => {
        this.#token = token;
        this.#dial();
      },
      (reason) => this.#finish(new RowcastError('unavailable', `no token: ${reason}`), false, true),
    );
  }

  /** From now on somebody else hears of it. */
  handTo(events: VisitEvents): void {
    this.#events = events;
  }

  /** Sends a command; `onReply` gets its one reply, or nothing if the visit ends before. */
  request(request: Request, onReply: (reply: Reply) => void = () => {}): void {
    if (this.#over) return;
    if (this.#held !== null && request.type !== 'refresh' && request.type !== 'ping') {
      this.#held.push(() => this.request(request, onReply));
      return;
    }
    this.#lastId += 1;
    this.#replies.set(this.#lastId, onReply);
    if (this.#connectedAt !== null && !this.#proven) this.#awaitProof(); // a rung may make its request anew
    this.#link?.send({ ...request, id: this.#lastId } as Command);
  }

  /** There is reason to doubt that the way still leads to the gateway: asks it. */
  probe(): void {
    if (this.#doubted || this.#connectedAt === null) return; // it is being asked
    this.#doubted = true;
    this.request({ type: 'ping' });
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(Math.min(PROBE_TIMEOUT, this.#heartbeat), () => {
      if (this.#doubted) this.#silent('nothing was heard when it was asked');
      else this.#listen();
    });
  }

  close(): void {
    this.#over = true;
    this.#cancelTimer();
    this.#cancelToken();
    this.#cancelProof();
    this.#replies.clear();
    this.#link?.close();
  }

  /** Asks for a token, and calls one of the two, once, unless the visit ends before. */
  #ask(onToken: (token: string | undefined) => void, onNone: (reason: unknown) => void): void {
    const { token, clock } = this.#options;
    const late = new Promise<never>((_, reject) => {
      this.#cancelToken = clock.after(TOKEN_TIMEOUT, () => reject('none came in time'));
    });
    Promise.race([token(), late])
      .finally(() => this.#cancelToken())
      .then(
        (token) => this.#over || onToken(token),
        (reason) => this.#over || onNone(reason),
      );
  }

  #dial(): void {
    const { rung, clock, patience } = this.#options;
    this.#cancelTimer = clock.after(patience, () => this.#end(1006, 'no connection in time'));
    this.#link = rung.open({
      onOpen: () => this.#over || this.#introduce(),
      onFrame: (frame) => this.#over || this.#receive(frame),
      onHeard: () => this.#over || this.#comment(),
      onClose: (code, reason) => {
        this.#spoke ||= codeOfClose(code) !== null;
        if (!this.#over) this.#end(code, reason);
      },
    });
  }

  #introduce(): void {
    const token = this.#token;
    this.request({ type: 'connect', protocol: PROTOCOL, ...(token === undefined ? {} : { token }) }, (reply) => {
      if (reply.type === 'error') {
        const error = new RowcastError(reply.code, reply.message);
        this.#retryAfter = reply.retryAfter;
        return this.#finish(error, !error.retries, error.retries);
      }
      if (reply.type !== 'connected') return;
      this.#connectedAt = this.#options.clock.now();
      this.#heartbeat = reply.heartbeat;
      this.#cancelTimer();
      this.#listen();
      this.#awaitProof();
      this.#events.onConnected();
      if (!this.#options.rung.mayBuffer) this.#prove();
    });
  }

  #heard(): void {
    this.#lastHeard = this.#options.clock.now();
    this.#doubted = false;
  }

  #receive(frame: Frame): void {
    this.#heard();
    const id = 'id' in frame ? frame.id : undefined;
    if (frame.type === 'error' && id === undefined) {
      // What cannot be had this way may be had by another.
      this.#spoke = outcomeOf(frame.code).outcome === 'retry';
      this.#retryAfter = frame.retryAfter;
    }
    if (frame.type === 'paused') return this.#pause();
    if (id === undefined) return this.#events.onFrame(frame);
    const onReply = this.#replies.get(id);
    this.#replies.delete(id);
    onReply?.(frame as Reply);
  }

  /** Nothing is lost in a pause, and the gateway ends the connection that brings no fresh token. */
  #pause(): void {
    if (this.#held !== null) return;
    this.#held = [];
    this.#refresh(new Backoff(REFRESH, this.#options.random));
  }

  #refresh(backoff: Backoff): void {
    const again = () => {
      this.#cancelToken = this.#options.clock.after(backoff.next(), () => this.#refresh(backoff));
    };
    this.#ask((token) => {
      if (token === undefined || token === this.#token) return again(); // it is known to have expired
      this.request({ type: 'refresh', token }, ({ type }) => {
        if (type !== 'refreshed') return again(); // unless a close follows: the gateway could not tell
        this.#token = token;
        const held = this.#held ?? [];
        this.#held = null;
        for (const say of held) say();
      });
    }, again);
  }

  #comment(): void {
    this.#heard();
    if (this.#connectedAt !== null) this.#prove();
  }

  #awaitProof(): void {
    if (!this.#options.rung.mayBuffer) return;
    this.#cancelProof();
    this.#cancelProof = this.#options.clock.after(PROOF_TIMEOUT, () => this.#end(1006, 'the stream is held back'));
  }

  #prove(): void {
    this.#cancelProof();
    if (this.#proven || this.#over) return;
    this.#proven = true;
    this.#events.onProven();
  }

  /**
   * A socket may say OPEN long after the other side is gone: only what arrives proves that it lives. Silence counts
   * up to when this was due: what came to a machine that slept, or to a page that was frozen, is still to be read.
   */
  #listen(due = this.#options.clock.now()): void {
    const silence = due - this.#lastHeard;
    if (silence >= 2 * this.#heartbeat) return this.#silent('nothing was heard for two heartbeats');
    if (silence >= this.#heartbeat / 2) this.request({ type: 'ping' });
    const next = this.#options.clock.now() + this.#heartbeat / 2;
    this.#cancelTimer = this.#options.clock.after(this.#heartbeat / 2, () => this.#listen(next));
  }

  #silent(reason: string): void {
    this.#end(outcomes.heartbeat_timeout.close, reason);
  }

  #end(code: number, reason: string): void {
    const stops = closeStops(code);
    const error = new RowcastError(codeOfClose(code) ?? 'unavailable', reason || 'the connection was lost', !stops);
    this.#finish(error, stops, this.#spoke);
  }

  #finish(error: RowcastError, stops: boolean, blameless: boolean): void {
    const connectedAt = this.#proven ? this.#connectedAt : null;
    const lived = connectedAt === null ? null : this.#options.clock.now() - connectedAt;
    const doubted = this.#doubted;
    this.close();
    this.#events.onEnd({ error, stops, blameless, lived, retryAfter: this.#retryAfter, doubted });
  }
}
