import { type Client, clientOver } from '../../client/client.js';
import { Backoff } from '../../client/ground/backoff.js';
import type { RowcastError } from '../../client/ground/error.js';
import {
  askedPosition,
  type Frame,
  formatPosition,
  parsePosition,
  type Reply,
  type ResetReason,
  type Row,
  startAt,
} from '../../client/protocol/index.js';
import type { Connection, ConnectionEvents, Request, SessionState } from '../../client/session/connection.js';
import { FakeClock } from '../support/fakes.js';

export const CHANNEL = 'message:lobby';
export const BACKOFF = { base: 50, cap: 400 };

interface Command {
  readonly id: number;
  readonly request: Request;
  readonly onReply: (reply: Reply) => void;
}

/** A gateway with one channel, seen through a connection on which nothing moves before the test says so. */
export class FakeGateway implements Connection {
  readonly clock: FakeClock;
  readonly transport = 'websocket';
  readonly heardAt = null;
  readonly roundTrip = null;
  readonly retryAt = null;
  state: SessionState = 'waiting';
  #events!: ConnectionEvents;
  readonly client: Client;
  epoch = 'e1';
  floor = 1;
  head: number;
  /** Where the gateway stands in the channel, while the client is subscribed. */
  after: number | null = null;
  /** What the client has said, and what is on its way to it. */
  readonly up: Command[] = [];
  readonly down: { readonly frame?: Frame; arrive(): void }[] = [];
  /** Whether the client has heard `subscribed` since it subscribed, and has not unsubscribed since. */
  mayDeliver = false;
  /** Where the client has read the wire subscription up to; null while it has none. */
  wire: number | null = null;
  /** The same before the last `unsubscribe`. */
  #left: number | null = null;
  /** Called before each `subscribe`, with where the wire subscription stood until then. */
  onSubscribe: (stood: number | null) => void = () => {};
  /** How many `subscribe` frames there were. */
  subscribes = 0;
  /** The last `subscribed` that has arrived. */
  told: { readonly epoch: string; readonly head: number; readonly floor: number } | null = null;
  #lastId = 0;

  constructor(head: number, clock = new FakeClock()) {
    this.head = head;
    this.clock = clock;
    const timing = { clock, backoff: () => new Backoff(BACKOFF, () => 0.5) };
    const open = (events: ConnectionEvents) => {
      this.#events = events;
      return this;
    };
    this.client = clientOver(open, undefined, timing);
  }

  start(): void {}

  reconnect(): void {}

  /** The session ends: with an error it has given up. */
  close(error?: RowcastError): void {
    this.#forget();
    this.#enter('closed', error);
  }

  request(request: Request, onReply: (reply: Reply) => void = () => {}): void {
    if (this.state !== 'connected') throw new Error(`${request.type} without a connection`);
    this.mayDeliver = false;
    if (request.type === 'unsubscribe') this.#left = this.wire;
    else {
      this.subscribes += 1;
      this.onSubscribe(this.#left);
      this.#left = null;
    }
    this.wire = null;
    this.#lastId += 1;
    this.up.push({ id: this.#lastId, request, onReply });
  }

  connect(): void {
    if (this.state === 'waiting') this.#enter('connected');
  }

  /** Another transport takes over: what was on its way is lost, and nothing is subscribed. */
  move(): void {
    if (this.state !== 'connected') return;
    this.#forget();
    this.#enter('connected');
  }

  drop(): void {
    if (this.state !== 'connected') return;
    this.#forget();
    this.#enter('waiting');
  }

  /** Answers the oldest command; a subscribe with the error, if one is given. */
  answer(error?: string): void {
    const command = this.up.shift();
    if (command === undefined) return;
    const { id, request, onReply } = command;
    const reply = (reply: Reply) => this.down.push({ arrive: () => onReply(reply) });
    if (request.type === 'unsubscribe') {
      this.after = null;
      reply({ type: 'unsubscribed', id, channel: CHANNEL, code: 'requested' });
      return;
    }
    if (request.type !== 'subscribe') throw new Error(`a subscription said ${request.type}`);
    const asked = askedPosition(request.since ?? 'now', this);
    const code = error ?? (this.after !== null ? 'already_subscribed' : 'invalid_frame');
    if (error !== undefined || this.after !== null || asked === null) {
      reply({ type: 'error', id, code, message: 'why' });
      return;
    }
    const start = startAt(asked, this);
    this.after = start.after;
    const subscribed = {
      type: 'subscribed' as const,
      id,
      channel: CHANNEL,
      epoch: this.epoch,
      head: this.head,
      floor: this.floor,
    };
    this.down.push({
      arrive: () => {
        this.mayDeliver = id === this.#lastId; // else it belongs to a subscription that was left
        this.wire = this.mayDeliver ? start.after : null;
        this.told = subscribed;
        onReply(subscribed);
      },
    });
    if (start.reset !== null) this.#reset(start.reset, start.after);
  }

  /**
   * Sends the next `count` events, if there are any. `shift` below 0 begins with events that were sent before,
   * above 0 it leaves some out, as no gateway should.
   */
  send(count: number, shift = 0): void {
    if (this.after === null || this.after >= this.head) return;
    const from = Math.max(1, Math.min(this.after + 1 + shift, this.head));
    const to = Math.min(this.head, Math.max(from, this.after + count));
    const events = Array.from({ length: to - from + 1 }, (_, index) => this.row(from + index));
    this.#frame({ type: 'events', channel: CHANNEL, from, events });
    this.after = Math.max(this.after, to);
  }

  row(seq: number): Row {
    return { event_type: seq % 2 === 0 ? 'even' : 'odd', epoch: this.epoch, seq };
  }

  /** What was sent last, once more, if it was events. */
  repeat(): void {
    const last = this.down.at(-1);
    if (last?.frame?.type === 'events') this.down.push(last);
  }

  prune(floor: number): void {
    this.floor = Math.max(this.floor, Math.min(floor, this.head + 1));
    if (this.after !== null && this.after < this.floor - 1) this.#reset('pruned', this.floor - 1);
  }

  renumber(head: number): void {
    this.epoch = `e${Number(this.epoch.slice(1)) + 1}`;
    this.floor = 1;
    this.head = head;
    if (this.after !== null) this.#reset('epoch', head);
  }

  /** Ends the subscription on the gateway's side. */
  end(code: string): void {
    if (this.after === null) return;
    this.after = null;
    const frame: Frame = { type: 'unsubscribed', channel: CHANNEL, code };
    this.down.push({
      arrive: () => {
        this.mayDeliver = false;
        this.wire = null;
        this.push(frame);
      },
    });
  }

  /** A frame that arrives, whatever the gateway has sent. */
  push(frame: Frame): void {
    this.#events.onFrame(frame);
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.state = state;
    this.#events.onState(state, error);
  }

  #forget(): void {
    this.mayDeliver = false;
    this.wire = null;
    this.#left = null;
    this.after = null;
    this.up.length = 0;
    this.down.length = 0;
  }

  /** Lets one thing arrive. */
  arrive(): void {
    this.down.shift()?.arrive();
  }

  #reset(reason: ResetReason, seq: number): void {
    this.after = seq;
    this.#frame({ type: 'reset', channel: CHANNEL, reason, position: formatPosition({ epoch: this.epoch, seq }) });
  }

  #frame(frame: Frame): void {
    const arrive = () => {
      if (this.wire !== null && frame.type === 'reset') this.wire = parsePosition(frame.position)?.seq ?? null;
      if (this.wire !== null && frame.type === 'events') {
        this.wire = frame.from > this.wire + 1 ? null : Math.max(this.wire, frame.from + frame.events.length - 1);
      }
      this.push(frame);
    };
    this.down.push({ frame, arrive });
  }
}
