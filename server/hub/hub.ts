import type { Logger } from '../ground/logger.js';
import type { Clock } from '../ports/clock.js';
import type { Feed, Movement, Movements, Pages } from '../ports/feed.js';
import { PageCache } from './cache.js';
import { Channel, type ChannelContext, type PageLimits } from './channel.js';

export interface HubOptions {
  readonly feed: Pick<Feed, 'open' | 'leave'>;
  readonly pages: Pages;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: PageLimits;
  readonly cacheBytes: number;
  /** For how long a channel that nobody holds any more is kept, in milliseconds: who polls comes back soon. */
  readonly linger?: number;
}

/** Channels that nobody holds; with more, the one that was left longest ago is closed. */
const MAX_IDLE = 10_000;

/** The channels that somebody reads, and for a while those that somebody read. */
export class Hub implements Movements {
  readonly #feed: Pick<Feed, 'open' | 'leave'>;
  readonly #context: ChannelContext;
  #linger: number;
  readonly #channels = new Map<string, Channel>();
  /** With what ends their time. They are kept up to date by movements alone. */
  readonly #idle = new Map<string, { readonly channel: Channel; readonly cancel: () => void }>();
  readonly #opening = new Map<string, Promise<Channel | null>>();
  readonly #holds = new Map<Channel, number>();

  constructor({ feed, pages, clock, logger, limits, cacheBytes, linger = 0 }: HubOptions) {
    this.#feed = feed;
    this.#linger = linger;
    this.#context = { feed, pages, clock, logger, limits, cache: new PageCache(cacheBytes) };
  }

  /** Those that are held. */
  get channels(): ReadonlyMap<string, Channel> {
    return this.#channels;
  }

  get readers(): number {
    return [...this.#channels.values()].reduce((sum, { readers }) => sum + readers, 0);
  }

  get cacheBytes(): number {
    return this.#context.cache.bytes;
  }

  /**
   * Holds a channel, for whoever calls `release` later. Null where there is no such channel.
   * Rejects with `Refusal` (invalid_channel) or `Unavailable`. However many ask at once, the database is asked once.
   */
  async hold(name: string): Promise<Channel | null> {
    const channel = this.#channels.get(name) ?? this.#revive(name) ?? (await this.#open(name));
    if (channel === null) return null;
    // Another caller has held and released it since it was opened.
    if (this.#channels.get(name) !== channel) return this.hold(name);
    this.#holds.set(channel, (this.#holds.get(channel) ?? 0) + 1);
    return channel;
  }

  release(channel: Channel): void {
    const holds = (this.#holds.get(channel) ?? 0) - 1;
    if (holds > 0) {
      this.#holds.set(channel, holds);
      return;
    }
    this.#holds.delete(channel);
    this.#channels.delete(channel.name);
    if (this.#linger === 0) return this.#close(channel);
    const cancel = this.#context.clock.after(this.#linger, () => this.#forget(channel.name));
    this.#idle.set(channel.name, { channel, cancel });
    const [oldest] = this.#idle.keys();
    if (this.#idle.size > MAX_IDLE && oldest !== undefined) this.#forget(oldest);
  }

  moved(movement: Movement): void {
    const { channel: name } = movement;
    const channel = this.#channels.get(name) ?? this.#idle.get(name)?.channel;
    channel?.moved(movement);
  }

  /** Something was lost that movements cannot tell: asks the database where every channel stands. */
  recheckAll(): void {
    this.#forgetIdle();
    for (const channel of this.#channels.values()) channel.recheck();
  }

  /** Keeps nothing from now on that nobody holds. */
  close(): void {
    this.#linger = 0;
    this.#forgetIdle();
  }

  #forgetIdle(): void {
    for (const name of [...this.#idle.keys()]) this.#forget(name);
  }

  #revive(name: string): Channel | undefined {
    const idle = this.#idle.get(name);
    if (idle?.channel.gone) this.#forget(name);
    if (idle === undefined || idle.channel.gone) return undefined;
    idle.cancel();
    this.#idle.delete(name);
    this.#channels.set(name, idle.channel);
    return idle.channel;
  }

  #forget(name: string): void {
    const idle = this.#idle.get(name);
    this.#idle.delete(name);
    idle?.cancel();
    if (idle !== undefined) this.#close(idle.channel);
  }

  #close(channel: Channel): void {
    channel.close();
    this.#feed.leave(channel.name);
  }

  #open(name: string): Promise<Channel | null> {
    const opening = this.#opening.get(name) ?? this.#load(name);
    this.#opening.set(name, opening);
    return opening;
  }

  async #load(name: string): Promise<Channel | null> {
    let channel: Channel | null = null;
    try {
      const state = await this.#feed.open(name);
      if (state === null) return null;
      // Put in place in the same turn in which the state arrived: no movement can come between.
      channel = new Channel(name, state, this.#context);
      this.#channels.set(name, channel);
      return channel;
    } finally {
      this.#opening.delete(name);
      if (channel === null) this.#feed.leave(name);
    }
  }
}
