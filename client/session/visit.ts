/**
 * One visit to one rung, from the token to the end of the connection:
 *
 *            token       link opens         reply           proof *
 *   token ─────────► opening ─────► connecting ─────► connected ◄────► paused
 *     │                 │               │                 │    expired,   │
 *     │ no token        │ closed, or    │ refused         │    refreshed  │ closed
 *     │                 │ timeout       │                 │ closed, or    │
 *     ▼                 ▼               ▼                 ▼ silence       ▼
 *   over ◄──────────────┴───────────────┴─────────────────┴───────────────┘
 *
 *   token       the application is asked for a token
 *   opening     the rung opens a link; the handshake timeout runs
 *   connecting  `connect` was sent; the same timeout goes on
 *   connected   commands go out; the heartbeat is watched
 *   paused      the token has expired and a fresh one is fetched; commands wait, the heartbeat is watched
 *   over        no timer runs, the link is closed, and no event is reported any more
 *
 * `close` leads from each state to `over` without a report. An event that a state does not expect has no effect.
 * (*) Where a proxy may hold back the response, `connected` is proven only by data that follows; without it the visit
 * ends as well.
 */
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
import { Replies } from './replies.js';
import { requestToken } from './token-request.js';
import type { VisitEvents, VisitOptions } from './visit-options.js';

/** The delays between attempts to get a fresh token while paused, in milliseconds. */
const REFRESH: BackoffLimits = { base: 500, cap: 8_000 };

/** How long the gateway may take to answer a probe, in milliseconds. */
const PROBE_TIMEOUT = 3_000;

/** The gateway writes a comment one second after it opened a stream; a proxy that delays it for so long buffers. In milliseconds. */
const PROOF_TIMEOUT = 4_000;

/** The close code of a connection that ended without a closing handshake. */
const BROKEN = 1006;

interface Established {
  readonly token: string | undefined;
  readonly link: Link;
  /** In milliseconds. */
  readonly heartbeat: number;
  /** Milliseconds since 1970. */
  readonly since: number;
}

type Phase =
  | { readonly name: 'token' }
  | { readonly name: 'opening'; readonly token: string | undefined; readonly link: Link | null }
  | { readonly name: 'connecting'; readonly token: string | undefined; readonly link: Link }
  | ({ readonly name: 'connected' } & Established)
  /** `held`: the commands that wait for the fresh token. */
  | ({ readonly name: 'paused'; readonly held: (() => void)[] } & Established)
  | { readonly name: 'over' };

export type VisitPhase = Phase['name'];

/** What the gateway said about the end of the connection before it came. */
interface Farewell {
  /** The gateway ended the connection, for a reason that may pass and is not the transport's fault. */
  readonly excuses: boolean;
  readonly retryAfter: number | undefined;
}

export class Visit {
  readonly #rung: Rung;
  readonly #token: () => Promise<string | undefined>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #handshakeTimeout: number;
  readonly #times: boolean;
  readonly #replies = new Replies();
  #events: VisitEvents;
  #phase: Phase = { name: 'token' };
  #farewell: Farewell = { excuses: false, retryAfter: undefined };
  #proven = false;
  /** A ping was sent after a network hint, and nothing has arrived since. */
  #probing = false;
  #heardAt: number | null = null;
  #roundTrip: number | null = null;
  /** Of the handshake, the heartbeat or a probe. */
  #cancelTimer: () => void = () => {};
  #cancelToken: () => void = () => {};
  #cancelProof: () => void = () => {};

  constructor({ rung, token, clock, random, handshakeTimeout, times = false, events }: VisitOptions) {
    this.#rung = rung;
    this.#token = token;
    this.#clock = clock;
    this.#random = random;
    this.#handshakeTimeout = handshakeTimeout;
    this.#times = times;
    this.#events = events;
  }

  get phase(): VisitPhase {
    return this.#phase.name;
  }

  get transport(): Rung['name'] {
    return this.#rung.name;
  }

  /** When data last arrived, in milliseconds since 1970; null before the first. */
  get heardAt(): number | null {
    return this.#heardAt;
  }

  /** How long the last ping, or `connect`, took to be answered, in milliseconds; null before the first. */
  get roundTrip(): number | null {
    return this.#roundTrip;
  }

  begin(): void {
    this.#cancelToken = requestToken(
      this.#token,
      this.#clock,
      (token) => this.#open(token),
      (reason) => this.#finish({ error: new RowcastError('unavailable', `no token: ${reason}`), excused: true }),
    );
  }

  /** Reports to `events` from now on. */
  handOver(events: VisitEvents): void {
    this.#events = events;
  }

  /** Sends a command; `onReply` gets its one reply, or is never called if the visit ends before. */
  request(request: Request, onReply: (reply: Reply) => void = () => {}): void {
    const phase = this.#phase;
    if (phase.name === 'token' || phase.name === 'over') return;
    if (phase.name === 'paused' && request.type !== 'refresh' && request.type !== 'ping') {
      phase.held.push(() => this.request(request, onReply));
      return;
    }
    const sentAt = this.#clock.now();
    const id = this.#replies.add((reply) => {
      if (request.type === 'ping' || request.type === 'connect') this.#roundTrip = this.#clock.now() - sentAt;
      onReply(reply);
    });
    if (this.#established !== null && !this.#proven) this.#awaitProof(); // the rung may make its request anew
    phase.link?.send({ ...request, id } as Command);
  }

  /** After a network hint: checks whether the gateway still answers. */
  probe(): void {
    const established = this.#established;
    if (established === null || this.#probing) return;
    this.#probing = true;
    this.request({ type: 'ping' });
    this.#cancelTimer();
    this.#cancelTimer = this.#clock.after(Math.min(PROBE_TIMEOUT, established.heartbeat), () => {
      if (this.#probing) this.#silent('no answer after a network hint');
      else this.#watchHeartbeat(established.heartbeat);
    });
  }

  close(): void {
    const phase = this.#phase;
    this.#phase = { name: 'over' };
    this.#cancelTimer();
    this.#cancelToken();
    this.#cancelProof();
    this.#replies.clear();
    if ('link' in phase) phase.link?.close();
  }

  get #over(): boolean {
    return this.#phase.name === 'over';
  }

  get #established(): Established | null {
    return this.#phase.name === 'connected' || this.#phase.name === 'paused' ? this.#phase : null;
  }

  #open(token: string | undefined): void {
    this.#phase = { name: 'opening', token, link: null };
    this.#cancelTimer = this.#clock.after(this.#handshakeTimeout, () => this.#end(BROKEN, 'handshake timeout'));
    const link = this.#rung.open({
      onOpen: () => this.#connect(),
      onFrame: (frame) => this.#over || this.#receive(frame),
      onHeard: () => this.#over || this.#onHeard(),
      onClose: (code, reason) => {
        if (codeOfClose(code) !== null) this.#farewell = { ...this.#farewell, excuses: true };
        if (!this.#over) this.#end(code, reason);
      },
    });
    this.#phase = { name: 'opening', token, link };
  }

  #connect(): void {
    if (this.#phase.name !== 'opening' || this.#phase.link === null) return;
    const { token, link } = this.#phase;
    this.#phase = { name: 'connecting', token, link };
    const asked = { ...(token !== undefined && { token }), ...(this.#times && { times: true }) };
    this.request({ type: 'connect', protocol: PROTOCOL, ...asked }, (reply) => {
      if (reply.type === 'error') {
        const { code, message, retryAfter } = reply;
        const error = new RowcastError(code, message);
        this.#farewell = { ...this.#farewell, retryAfter };
        return this.#finish({ error, stops: !error.retries, excused: error.retries });
      }
      if (reply.type !== 'connected') return;
      const { heartbeat } = reply;
      this.#phase = { name: 'connected', token, link, heartbeat, since: this.#clock.now() };
      this.#cancelTimer();
      this.#watchHeartbeat(heartbeat);
      this.#awaitProof();
      this.#events.onConnected();
      if (!this.#rung.mayBuffer) this.#prove();
    });
  }

  #heard(): void {
    this.#heardAt = this.#clock.now();
    this.#probing = false;
  }

  #receive(frame: Frame): void {
    this.#heard();
    const id = 'id' in frame ? frame.id : undefined;
    if (frame.type === 'error' && id === undefined) {
      // An error that says stop may not say so over another transport.
      this.#farewell = { excuses: outcomeOf(frame.code).outcome === 'retry', retryAfter: frame.retryAfter };
    }
    if (frame.type === 'paused') return this.#pause();
    if (id === undefined) return this.#events.onFrame(frame);
    this.#replies.settle(id, frame as Reply);
  }

  /** No event is lost while the connection is paused. The gateway ends it if no fresh token comes. */
  #pause(): void {
    if (this.#phase.name !== 'connected') return;
    this.#phase = { ...this.#phase, name: 'paused', held: [] };
    this.#refresh(new Backoff(REFRESH, this.#random));
  }

  #refresh(backoff: Backoff): void {
    const retry = () => {
      this.#cancelToken = this.#clock.after(backoff.next(), () => this.#refresh(backoff));
    };
    const onToken = (token: string | undefined) => {
      const phase = this.#phase;
      if (phase.name !== 'paused') return;
      if (token === undefined || token === phase.token) return retry(); // it is known to have expired
      this.request({ type: 'refresh', token }, ({ type }) => {
        if (type !== 'refreshed') return retry(); // the gateway closes the connection unless it may work later
        const { held, ...established } = phase;
        this.#phase = { ...established, name: 'connected', token };
        for (const send of held) send();
      });
    };
    this.#cancelToken = requestToken(this.#token, this.#clock, onToken, retry);
  }

  #onHeard(): void {
    this.#heard();
    if (this.#established !== null) this.#prove();
  }

  #awaitProof(): void {
    if (!this.#rung.mayBuffer) return;
    this.#cancelProof();
    this.#cancelProof = this.#clock.after(PROOF_TIMEOUT, () => this.#end(BROKEN, 'a proxy holds the stream back'));
  }

  #prove(): void {
    this.#cancelProof();
    if (this.#proven || this.#over) return;
    this.#proven = true;
    this.#events.onProven();
  }

  /**
   * Only data that arrives proves that the gateway is there: a socket may stay OPEN long after. The silence is counted up
   * to the moment at which the check was due, because what arrived while the machine slept, or the page was frozen, has
   * not been read yet.
   */
  #watchHeartbeat(heartbeat: number, due = this.#clock.now()): void {
    const silence = due - (this.#heardAt ?? due);
    if (silence >= 2 * heartbeat) return this.#silent('no data for two heartbeats');
    if (silence >= heartbeat / 2) this.request({ type: 'ping' });
    const next = this.#clock.now() + heartbeat / 2;
    this.#cancelTimer = this.#clock.after(heartbeat / 2, () => this.#watchHeartbeat(heartbeat, next));
  }

  #silent(reason: string): void {
    this.#end(outcomes.heartbeat_timeout.close, reason);
  }

  #end(code: number, reason: string): void {
    const stops = closeStops(code);
    const error = new RowcastError(codeOfClose(code) ?? 'unavailable', reason || 'the connection was lost', !stops);
    this.#finish({ error, stops, excused: this.#farewell.excuses });
  }

  #finish({ error, stops = false, excused }: { error: RowcastError; stops?: boolean; excused: boolean }): void {
    const since = this.#established?.since;
    const lived = since === undefined || !this.#proven ? null : this.#clock.now() - since;
    const { retryAfter } = this.#farewell;
    const probed = this.#probing;
    this.close();
    this.#events.onEnd({ error, stops, transportAtFault: !excused, lived, retryAfter, probed });
  }
}
