import type { Command, ErrorCode, Frame } from '../protocol/index.js';
import { Cursor, type Outlet, type Owner } from './cursor.js';

export interface PortOptions {
  /** The name of the connection. */
  readonly id: string;
  readonly outlet: Outlet;
  join(cursor: Cursor): void;
  leave(cursor: Cursor): void;
  /** The tab takes events again: the channel has a cursor of it. */
  drained(channel: string): void;
}

/** In milliseconds: a tab that hears nothing asks its leader after half of it, and looks for another one after twice. */
const HEARTBEAT = 6_000;

/** The leading tab sets no limits. Those of the gateway hold for all tabs together, and it says when they are reached. */
const LIMITS = { maxFrameBytes: Number.MAX_SAFE_INTEGER, maxSubscriptions: Number.MAX_SAFE_INTEGER };

/** The connection of one tab, as the leading tab keeps it. To the tab it is like one to a gateway. */
export class Port implements Owner {
  readonly #options: PortOptions;
  readonly #cursors = new Map<string, Cursor>();
  #connected = false;

  constructor(options: PortOptions) {
    this.#options = options;
  }

  get writable(): boolean {
    return this.#options.outlet.writable;
  }

  receive(command: Command): void {
    if (command.type === 'ping') return this.send({ type: 'pong', id: command.id });
    if (command.type === 'connect') return this.#connect(command.id);
    if (!this.#connected) return this.#refuse(command.id, 'not_connected');
    switch (command.type) {
      case 'refresh': // the tab has seen that it is still the same principal
        return this.send({ type: 'refreshed', id: command.id });
      case 'subscribe':
        return this.#subscribe(command);
      case 'unsubscribe':
        return this.#unsubscribe(command.id, command.channel);
    }
  }

  drained(): void {
    for (const channel of [...this.#cursors.keys()]) this.#options.drained(channel);
  }

  /** The tab is gone: lets go of everything. */
  gone(): void {
    for (const cursor of [...this.#cursors.values()]) this.#letGo(cursor);
  }

  send(frame: Frame): void {
    this.#options.outlet.send(frame);
  }

  forget(cursor: Cursor): void {
    this.#cursors.delete(cursor.channel);
  }

  #refuse(id: number, code: ErrorCode): void {
    this.send({ type: 'error', id, code, message: code });
  }

  #connect(id: number): void {
    if (this.#connected) return this.#refuse(id, 'already_connected');
    this.#connected = true;
    this.send({ type: 'connected', id, session: this.#options.id, heartbeat: HEARTBEAT, limits: LIMITS });
  }

  #subscribe({ id, channel, since = 'now' }: Extract<Command, { type: 'subscribe' }>): void {
    if (this.#cursors.has(channel)) return this.#refuse(id, 'already_subscribed');
    const cursor = new Cursor(this, id, channel, since);
    this.#cursors.set(channel, cursor);
    this.#options.join(cursor);
  }

  #unsubscribe(id: number, channel: string): void {
    const cursor = this.#cursors.get(channel);
    if (cursor === undefined) return this.#refuse(id, 'not_subscribed');
    this.#letGo(cursor);
    const code = 'requested';
    if (cursor.position === null) this.send({ type: 'unsubscribed', id: cursor.id, channel, code });
    this.send({ type: 'unsubscribed', id, channel, code });
  }

  #letGo(cursor: Cursor): void {
    this.forget(cursor);
    this.#options.leave(cursor);
  }
}
