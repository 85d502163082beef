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
  /** As asked for; from the first `subscribed` on, the position up to which frames were passed on. */
  since: Since;
  /** `subscribed` was passed on: those of later requests say nothing new. Until then, what comes belongs to one that was left. */
  answered: boolean;
}

/**
 * One connection made of single requests. Each request says again all that stands: connect, and a subscribe for each
 * channel at its last position; so nothing is kept at the gateway between them, and any gateway will do. To whoever
 * sends commands and reads frames it looks as if there were one connection all along.
 */
export class Roster {
  #connect: Extract<Command, { type: 'connect' }> | null = null;
  #connected = false;
  readonly #entries = new Map<string, Entry>();
  /** Commands that are said once and were not answered yet. */
  readonly #once = new Map<number, Command>();
  /** What the present request asks for the first time, and has not answered yet. */
  readonly #awaited = new Set<number>();

  get connected(): boolean {
    return this.#connected;
  }

  get channels(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** Some command was never answered: the next request should be answered at once. */
  get hasNews(): boolean {
    return !this.#connected || this.#once.size > 0 || [...this.#entries.values()].some(({ answered }) => !answered);
  }

  /** The present request has answered what was new in it: one with other commands may take its place. */
  get settled(): boolean {
    return this.#awaited.size === 0;
  }

  /** Takes a command for the next request. What needs no gateway is answered by the returned replies. */
  take(command: Command): readonly LocalReply[] {
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
        const ids = entry?.answered === false ? [entry.id, id] : [id]; // the subscribe that it cancels has its reply too
        return ids.map((id) => ({ type: 'unsubscribed', id, channel, code: 'requested' }));
      }
      case 'refresh':
        if (this.#connect !== null) this.#connect = { ...this.#connect, token: command.token };
    }
    this.#once.set(command.id, command);
    return [];
  }

  /** The commands of the next request, which is the present one from now on. Channels may be left out of it. */
  commands(includes: (channel: string) => boolean = () => true): readonly Command[] {
    const connect = this.#connect === null ? [] : [this.#connect];
    const entries = [...this.#entries.values()].filter(({ channel }) => includes(channel));
    const once = [...this.#once.values()];
    const fresh = [...(this.#connected ? [] : connect), ...entries.filter(({ answered }) => !answered), ...once];
    this.#awaited.clear();
    for (const { id } of fresh) this.#awaited.add(id);
    const subscribes = entries.map(({ id, channel, since }) => ({ type: 'subscribe' as const, id, channel, since }));
    return [...connect, ...subscribes, ...once];
  }

  /** What a frame of the present request says to the one above, who takes it for one of a single connection; or null. */
  digest(frame: Frame): Frame | null {
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
      // It was answered long ago. Refused now, the connection is lost.
      if (reply.type !== 'error') return null;
      const { id, ...error } = reply;
      return error;
    }
    const entry = [...this.#entries.values()].find((entry) => entry.id === id);
    if (entry === undefined) return null; // left since
    if (reply.type === 'subscribed') return this.#subscribed(entry, reply);
    this.#entries.delete(entry.channel);
    const { channel, answered } = entry;
    const code = reply.type === 'error' ? reply.code : 'unavailable';
    return answered ? { type: 'unsubscribed', channel, code } : reply;
  }

  #subscribed(entry: Entry, reply: Extract<Reply, { type: 'subscribed' }>): Frame | null {
    if (entry.answered) return null;
    entry.answered = true;
    // A position stays what it is: if it cannot be served, a reset says where to go on.
    const asked = askedPosition(entry.since, reply);
    if (asked !== null) entry.since = formatPosition(asked);
    return reply;
  }

  #moveTo(entry: Entry, seq: number): void {
    const position = parsePosition(entry.since);
    if (position === null) return;
    entry.since = formatPosition({ epoch: position.epoch, seq });
    // An answer has room for so much: the next one begins with those that had nothing in this one.
    this.#entries.delete(entry.channel);
    this.#entries.set(entry.channel, entry);
  }
}
