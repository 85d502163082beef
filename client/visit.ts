import type { Request } from './carrier.js';
import type { Clock } from './clock.js';
import { RowcastError } from './error.js';
import type { Fate } from './ladder.js';
import {
  type Command,
  closeStops,
  codeOfClose,
  type Frame,
  outcomeOf,
  outcomes,
  PROTOCOL,
  type Reply,
} from './protocol/index.js';
import type { Link, Rung } from './transport/rung.js';

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
  /** How long opening and introducing may take together, in milliseconds. */
  readonly patience: number;
  readonly events: VisitEvents;
}

/** In milliseconds. */
const TOKEN_TIMEOUT = 10_000;

/** How long the other side may take to show that it lives, when there is reason to doubt it; in milliseconds. */
const PROBE_TIMEOUT = 3_000;

/** The gateway writes a comment one second after it opened a stream; a proxy that holds it back for so long is buffering. */
const PROOF_TIMEOUT = 4_000;

/**
 * One visit to one rung, from the token to the end: opens a link, introduces itself and listens to its heart. It owns
 * the timers and the link it makes; `close` ends them (I7).
 */
export class Visit {
  readonly #options: VisitOptions;
  #events: VisitEvents;
  readonly #replies = new Map<number, (reply: Reply) => void>();
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
  #cancelTimer: () => void = () => {};
  #cancelProof: () => void = () => {};

  constructor(options: VisitOptions) {
    this.#options = options;
    this.#events = options.events;
  }

  get transport(): Rung['name'] {
    return this.#options.rung.name;
  }

  begin(): void {
    const { token, clock } = this.#options;
    this.#cancelTimer = clock.after(TOKEN_TIMEOUT, () => this.#noToken('none came in time'));
    token().then(
      (token) => this.#over || this.#dial(token),
      (reason: unknown) => this.#over || this.#noToken(String(reason)),
    );
  }

  /** From now on somebody else hears of it. */
  handTo(events: VisitEvents): void {
    this.#events = events;
  }

  /** Sends a command; `onReply` gets its one reply, or nothing if the visit ends before. */
  request(request: Request, onReply: (reply: Reply) => void = () => {}): void {
    if (this.#over) return;
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
    this.#cancelProof();
    this.#replies.clear();
    this.#link?.close();
  }

  #dial(token: string | undefined): void {
    const { rung, clock, patience } = this.#options;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(patience, () => this.#end(1006, 'no connection in time'));
    this.#link = rung.open({
      onOpen: () => this.#over || this.#introduce(token),
      onFrame: (frame) => this.#over || this.#receive(frame),
      onHeard: () => this.#over || this.#comment(),
      onClose: (code, reason) => {
        this.#spoke ||= codeOfClose(code) !== null;
        if (!this.#over) this.#end(code, reason);
      },
    });
  }

  #introduce(token: string | undefined): void {
    this.request({ type: 'connect', protocol: PROTOCOL, ...(token === undefined ? {} : { token }) }, (reply) => {
      if (reply.type !== 'connected') return; // a refusal is followed by a close that carries its code
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
    if (id === undefined) return this.#events.onFrame(frame);
    const onReply = this.#replies.get(id);
    this.#replies.delete(id);
    onReply?.(frame as Reply);
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

  #noToken(reason: string): void {
    this.#finish(new RowcastError('unavailable', `no token: ${reason}`), false, true);
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
