/**
 * Makes one connection out of single requests. Each request repeats all commands that stand: `connect`, and a
 * `subscribe` for each channel at its last position. So the gateway keeps nothing between requests, and each of them may
 * reach another gateway. The sender of commands and the reader of frames see one continuous connection.
 */
import {
  askedPosition,
  type Command,
  type Frame,
  formatPosition,
  parsePosition,
  type Reply,
  type Since,
} from '../protocol/index.js';

type LocalReply = Reply & { readonly id: number };

interface Entry {
  readonly id: number;
  readonly channel: string;
  /** As it was asked for; after the first `subscribed`, the position up to which frames were passed on. */
  since: Since;
  /** `subscribed` was passed on. Until then frames of the channel belong to a subscription that was left. */
  answered: boolean;
}

export class StandingCommands {
  #connect: Extract<Command, { type: 'connect' }> | null = null;
  #connected = false;
  readonly #entries = new Map<string, Entry>();
  /** Commands that are sent once and have no reply yet. */
  readonly #once = new Map<number, Command>();
  /** The commands that the present request has for the first time, and that have no reply yet. */
  readonly #awaited = new Set<number>();

  get connected(): boolean {
    return this.#connected;
  }

  get channels(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** A command has no reply yet: the next request should be answered at once. */
  get urgent(): boolean {
    return !this.#connected || this.#once.size > 0 || [...this.#entries.values()].some(({ answered }) => !answered);
  }

  /** The present request has brought the replies that it was made for: another one may replace it. */
  get settled(): boolean {
    return this.#awaited.size === 0;
  }

  /** Adds a command to the next request. Returns the replies of those that need no gateway. */
  add(command: Command): readonly LocalReply[] {
    switch (command.type) {
      case 'connect':
        this.#connect = command;
        return [];
      case 'subscribe': {
        const { id, channel, since = 'now' } = command;
        this.#entries.set(channel, { id, channel, since, answered: false });
        return [];
      }
      case 'unsubscribe': {
        const { id, channel } = command;
        const entry = this.#entries.get(channel);
        this.#entries.delete(channel);
        // A `subscribe` that is cancelled before its reply gets one as well.
        const ids = entry?.answered === false ? [entry.id, id] : [id];
        return ids.map((id) => ({ type: 'unsubscribed', id, channel, code: 'requested' }));
      }
      case 'refresh':
        if (this.#connect !== null) this.#connect = { ...this.#connect, token: command.token };
    }
    this.#once.set(command.id, command);
    return [];
  }

  /** The commands of the next request, which becomes the present one. Channels may be left out of it. */
  list(includes: (channel: string) => boolean = () => true): readonly Command[] {
    const connect = this.#connect === null ? [] : [this.#connect];
    const entries = [...this.#entries.values()].filter(({ channel }) => includes(channel));
    const once = [...this.#once.values()];
    const fresh = [...(this.#connected ? [] : connect), ...entries.filter(({ answered }) => !answered), ...once];
    this.#awaited.clear();
    for (const { id } of fresh) this.#awaited.add(id);
    const subscribes = entries.map(({ id, channel, since }) => ({ type: 'subscribe' as const, id, channel, since }));
    return [...connect, ...subscribes, ...once];
  }

  /** The frame that a single connection would have brought in place of this one; null if it would have brought none. */
  translate(frame: Frame): Frame | null {
    if ('id' in frame && frame.id !== undefined) return this.#reply(frame as Reply & { id: number });
    if (!('channel' in frame)) return frame; // an error that concerns the connection
    const entry = this.#entries.get(frame.channel);
    if (!entry?.answered) return null;
    if (frame.type === 'events') this.#moveTo(entry, frame.from + frame.events.length - 1);
    if (frame.type === 'reset') entry.since = frame.position;
    if (frame.type === 'unsubscribed') this.#entries.delete(frame.channel);
    return frame;
  }

  #reply(reply: Reply & { id: number }): Frame | null {
    const { id } = reply;
    this.#awaited.delete(id);
    if (this.#once.delete(id)) return reply;
    if (id === this.#connect?.id) {
      if (!this.#connected) {
        this.#connected = reply.type === 'connected';
        return reply;
      }
      // An earlier request was accepted. If this one is refused, the connection is lost.
      if (reply.type !== 'error') return null;
      const { id, ...error } = reply;
      return error;
    }
    const entry = [...this.#entries.values()].find((entry) => entry.id === id);
    if (entry === undefined) return null; // the channel was left
    if (reply.type === 'subscribed') return this.#subscribed(entry, reply);
    this.#entries.delete(entry.channel);
    const { channel, answered } = entry;
    const code = reply.type === 'error' ? reply.code : 'unavailable';
    return answered ? { type: 'unsubscribed', channel, code } : reply;
  }

  #subscribed(entry: Entry, reply: Extract<Reply, { type: 'subscribed' }>): Frame | null {
    if (entry.answered) return null;
    entry.answered = true;
    // A position is kept as it is: if the gateway cannot serve it, a reset says where events go on.
    const asked = askedPosition(entry.since, reply);
    if (asked !== null) entry.since = formatPosition(asked);
    return reply;
  }

  #moveTo(entry: Entry, seq: number): void {
    const position = parsePosition(entry.since);
    if (position === null) return;
    entry.since = formatPosition({ epoch: position.epoch, seq });
    // A response has room for a limited number of events: the next one begins with the channels that had none.
    this.#entries.delete(entry.channel);
    this.#entries.set(entry.channel, entry);
  }
}
