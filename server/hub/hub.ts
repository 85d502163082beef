/**
 * The channels that have readers on this gateway, and for a while those that had some. Subscriptions hold and release
 * channels here; the tail reports movements, which the hub passes to the channel concerned. However many readers a
 * channel has, it is opened and kept once.
 */
import type { Logger } from '../ground/logger.js';
import type { Clock } from '../ports/clock.js';
import type { Feed, Movement, Movements, Pages } from '../ports/feed.js';
import { PageCache } from './cache.js';
import { Channel, type ChannelContext } from './channel.js';
import type { PageLimits } from './page.js';
import { Waiting } from './waiting.js';

export interface HubOptions {
  readonly feed: Pick<Feed, 'open' | 'leave'>;
  readonly pages: Pages;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: PageLimits;
  readonly cacheBytes: number;
  /** How long a channel is kept after its last release, in milliseconds: a client that polls holds it again soon. */
  readonly linger?: number;
}

/** Maximum number of channels that linger. Beyond it, the one that was released first is closed. */
const MAX_IDLE = 10_000;

export class Hub implements Movements {
  readonly #feed: Pick<Feed, 'open' | 'leave'>;
  readonly #context: ChannelContext;
  #linger: number;
  readonly #channels = new Map<string, Channel>();
  /** Channels that linger, with the timer that closes them. Movements keep their state up to date. */
  readonly #idle = new Map<string, { readonly channel: Channel; readonly cancel: () => void }>();
  readonly #opening = new Map<string, Promise<Channel | null>>();
  readonly #holds = new Map<Channel, number>();
  readonly #waiting: Waiting;

  constructor({ feed, pages, clock, logger, limits, cacheBytes, linger = 0 }: HubOptions) {
    this.#feed = feed;
    this.#linger = linger;
    this.#waiting = new Waiting(clock);
    this.#context = { feed, pages, clock, logger, limits, cache: new PageCache(cacheBytes) };
  }

  /** The channels that are held. */
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
   * Opens a channel and keeps it until the caller releases it. Resolves to null if it does not exist. Concurrent callers
   * share one query. Rejects with `Refusal` (invalid_channel) or `Unavailable`.
   */
  async hold(name: string): Promise<Channel | null> {
    const channel = this.#channels.get(name) ?? this.#revive(name) ?? (await this.#open(name));
    if (channel === null) return null;
    // Another caller has held and released it in the meantime.
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

  /** Movements may have been lost: reads the state of every channel again, and closes those that linger. */
  recheckAll(): void {
    this.#forgetIdle();
    for (const channel of this.#channels.values()) channel.recheck();
  }

  recheck(stream: string): void {
    const own = (name: string) => name.startsWith(`${stream}:`);
    for (const name of [...this.#idle.keys()]) if (own(name)) this.#forget(name);
    for (const [name, channel] of this.#channels) if (own(name)) channel.recheck();
    this.#waiting.wake(stream);
  }

  /** Runs `task` when a channel whose stream could not be read may be tried again. Returns a function that cancels it. */
  whenReadable(channel: string, task: () => void): () => void {
    return this.#waiting.add(channel.slice(0, channel.indexOf(':')), task);
  }

  /** Closes the channels that linger, and those released later at once. */
  close(): void {
    this.#linger = 0;
    this.#forgetIdle();
    this.#waiting.close();
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
      // Registered in the turn in which the state arrives, so that no movement can be missed in between.
      channel = new Channel(name, state, this.#context);
      this.#channels.set(name, channel);
      return channel;
    } finally {
      this.#opening.delete(name);
      if (channel === null) this.#feed.leave(name);
    }
  }
}
