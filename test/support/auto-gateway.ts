/** A gateway with any number of channels, seen through a connection that answers by itself, and what was said on it. */
import { type Client, type ClientOptions, clientOver } from '../../client/client.js';
import { RowcastError } from '../../client/ground/error.js';
import { askedPosition, type Frame, type Reply, type Row, startAt } from '../../client/protocol/index.js';
import type { Connection, ConnectionEvents, Request, SessionState } from '../../client/session/connection.js';

const EPOCH = 'e1';

/** The channels, which outlive the connections. */
export class AutoGateway {
  readonly #rows = new Map<string, Row[]>();
  readonly #links = new Set<Link>();
  /** What was said on all connections: `subscribe a:1`. */
  readonly said: string[] = [];
  /** Channels that may not be read. */
  readonly denied = new Set<string>();
  connected = true;

  rows(channel: string): Row[] {
    const rows = this.#rows.get(channel) ?? [];
    this.#rows.set(channel, rows);
    return rows;
  }

  write(channel: string, ...rows: Row[]): void {
    const from = this.rows(channel).length + 1;
    this.rows(channel).push(...rows);
    this.push({ type: 'events', channel, from, events: rows });
  }

  push(frame: Frame): void {
    for (const link of this.#links) link.push(frame);
  }

  connect(_options: ClientOptions): Client {
    return clientOver((events) => {
      const link = new Link(this, events, () => this.#links.delete(link));
      this.#links.add(link);
      return link;
    });
  }

  /** The connections are lost, or come back. */
  set(connected: boolean): void {
    this.connected = connected;
    for (const link of this.#links) link.enter(connected ? 'connected' : 'waiting');
  }
}

class Link implements Connection {
  readonly transport = 'websocket';
  readonly heardAt = null;
  readonly roundTrip = null;
  readonly retryAt = null;
  readonly #gateway: AutoGateway;
  readonly #events: ConnectionEvents;
  readonly #onClose: () => void;
  readonly #channels = new Set<string>();
  state: SessionState = 'waiting';

  constructor(gateway: AutoGateway, events: ConnectionEvents, onClose: () => void) {
    this.#gateway = gateway;
    this.#events = events;
    this.#onClose = onClose;
  }

  start(): void {
    queueMicrotask(() => {
      if (this.state === 'waiting' && this.#gateway.connected) this.enter('connected');
    });
  }

  reconnect(): void {}

  close(): void {
    this.#onClose();
    this.enter('closed');
  }

  enter(state: SessionState): void {
    this.#channels.clear();
    this.state = state;
    this.#events.onState(state, state === 'waiting' ? new RowcastError('unavailable') : undefined);
  }

  push(frame: Frame): void {
    if ('channel' in frame && this.#channels.has(frame.channel)) this.#events.onFrame(frame);
  }

  request(request: Request, onReply: (reply: Reply) => void = () => {}): void {
    if (request.type !== 'subscribe' && request.type !== 'unsubscribe') throw new Error(request.type);
    const { type, channel } = request;
    this.#gateway.said.push(`${type} ${channel}`);
    if (type === 'unsubscribe') return void this.#channels.delete(channel);
    queueMicrotask(() => {
      if (this.state !== 'connected') return;
      if (this.#gateway.denied.has(channel)) return onReply({ type: 'error', id: 1, code: 'forbidden', message: 'no' });
      const rows = this.#gateway.rows(channel);
      const numbering = { epoch: EPOCH, head: rows.length, floor: 1 };
      const { after } = startAt(
        askedPosition(request.since ?? 'now', numbering) ?? { epoch: EPOCH, seq: 0 },
        numbering,
      );
      this.#channels.add(channel);
      onReply({ type: 'subscribed', id: 1, channel, ...numbering });
      if (after < rows.length) this.push({ type: 'events', channel, from: after + 1, events: rows.slice(after) });
    });
  }
}
