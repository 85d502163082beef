import type { Logger } from '../logger.js';
import type { Clock, Log, Movement } from '../ports.js';
import { PageCache } from './cache.js';
import { Channel, type ChannelContext, type PageLimits } from './channel.js';

export interface HubOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: PageLimits;
  readonly cacheBytes: number;
}

/** The channels that somebody reads. A channel exists while it is held. */
export class Hub {
  readonly #context: ChannelContext;
  readonly #channels = new Map<string, Channel>();
  readonly #opening = new Map<string, Promise<Channel | null>>();
  readonly #holds = new Map<Channel, number>();

  constructor({ log, clock, logger, limits, cacheBytes }: HubOptions) {
    this.#context = { log, clock, logger, limits, cache: new PageCache(cacheBytes) };
  }

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
   * Rejects with `InvalidChannel` or `Unavailable`. However many ask at once, the database is asked once.
   */
  async hold(name: string): Promise<Channel | null> {
    const channel = this.#channels.get(name) ?? (await this.#open(name));
    if (channel !== null) this.#holds.set(channel, (this.#holds.get(channel) ?? 0) + 1);
    return channel;
  }

  release(channel: Channel): void {
    const holds = (this.#holds.get(channel) ?? 0) - 1;
    if (holds > 0) {
      this.#holds.set(channel, holds);
      return;
    }
    this.#holds.delete(channel);
    if (this.#channels.get(channel.name) === channel) this.#channels.delete(channel.name);
    channel.close();
  }

  moved(movement: Movement): void {
    this.#channels.get(movement.channel)?.moved(movement);
  }

  /** Something was lost that movements cannot tell: asks the database where every channel stands. */
  recheckAll(): void {
    for (const channel of this.#channels.values()) channel.recheck();
  }

  #open(name: string): Promise<Channel | null> {
    const opening =
      this.#opening.get(name) ??
      this.#context.log
        .open(name)
        .then((state) => {
          if (state === null) return null;
          // Put in place in the same turn in which the state arrived: no movement can come between.
          const channel = new Channel(name, state, this.#context);
          this.#channels.set(name, channel);
          return channel;
        })
        .finally(() => this.#opening.delete(name));
    this.#opening.set(name, opening);
    return opening;
  }
}
