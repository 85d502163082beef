import type { Command, ErrorCode } from '../protocol/index.js';
import type { SharedChannels } from '../subscription/shared-channels.js';
import { Cursor, type FrameOutput } from './cursor.js';

/** In milliseconds. A tab pings its leader after half of it without data, and seeks another one after twice of it. */
const HEARTBEAT = 6_000;

/** The leading tab sets no limits. Those of the gateway hold for all tabs together, and the gateway refuses what exceeds them. */
const LIMITS = { maxFrameBytes: Number.MAX_SAFE_INTEGER, maxSubscriptions: Number.MAX_SAFE_INTEGER };

/** The connection of one tab, as the leading tab holds it. To the tab it behaves as one to a gateway. */
export class Follower {
  readonly #id: string;
  readonly #output: FrameOutput;
  readonly #channels: SharedChannels;
  readonly #cursors = new Map<string, Cursor>();
  #connected = false;

  /** `id`: the name of the connection. */
  constructor(id: string, output: FrameOutput, channels: SharedChannels) {
    this.#id = id;
    this.#output = output;
    this.#channels = channels;
  }

  receive(command: Command): void {
    if (command.type === 'ping') return this.#output.send({ type: 'pong', id: command.id });
    if (command.type === 'connect') return this.#connect(command.id);
    if (!this.#connected) return this.#refuse(command.id, 'not_connected');
    switch (command.type) {
      case 'refresh': // the tab has checked that the token is of the same principal
        return this.#output.send({ type: 'refreshed', id: command.id });
      case 'subscribe':
        return this.#subscribe(command);
      case 'unsubscribe':
        return this.#unsubscribe(command.id, command.channel);
    }
  }

  /** The output is writable again. */
  drained(): void {
    for (const channel of [...this.#cursors.keys()]) this.#channels.resume(channel);
  }

  /** The tab is gone. */
  gone(): void {
    for (const cursor of [...this.#cursors.values()]) this.#leave(cursor);
  }

  #refuse(id: number, code: ErrorCode): void {
    this.#output.send({ type: 'error', id, code, message: code });
  }

  #connect(id: number): void {
    if (this.#connected) return this.#refuse(id, 'already_connected');
    this.#connected = true;
    this.#output.send({ type: 'connected', id, session: this.#id, heartbeat: HEARTBEAT, limits: LIMITS });
  }

  #subscribe({ id, channel, since = 'now' }: Extract<Command, { type: 'subscribe' }>): void {
    if (this.#cursors.has(channel)) return this.#refuse(id, 'already_subscribed');
    const onEnd = () => this.#cursors.delete(channel);
    const cursor = new Cursor({ output: this.#output, id, channel, since, onEnd });
    this.#cursors.set(channel, cursor);
    this.#channels.join(channel, cursor);
  }

  #unsubscribe(id: number, channel: string): void {
    const cursor = this.#cursors.get(channel);
    if (cursor === undefined) return this.#refuse(id, 'not_subscribed');
    this.#leave(cursor);
    const code = 'requested';
    if (cursor.place === null) this.#output.send({ type: 'unsubscribed', id: cursor.id, channel, code });
    this.#output.send({ type: 'unsubscribed', id, channel, code });
  }

  #leave(cursor: Cursor): void {
    this.#cursors.delete(cursor.channel);
    this.#channels.leave(cursor.channel, cursor);
  }
}
