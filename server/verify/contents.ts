/**
 * Reads the table for the judge: looks up the digest of the row at a position. Rows are read in blocks and cached, because
 * the histories of many clients contain the same rows. It also knows epochs and floors, and so tells a pruned row from one
 * that never existed.
 */
import type { Position } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import type { ChannelState, Feed, Pages } from '../ports/feed.js';
import { digestOf } from './digest.js';

/** What the table has at a position. `gone`: the row was pruned. `past`: another epoch than the current one. `foreign`: there is no such row. */
export type Found = { readonly kind: 'row'; readonly digest: string } | { readonly kind: 'gone' | 'past' | 'foreign' };

const GONE: Found = { kind: 'gone' };
const PAST: Found = { kind: 'past' };
const FOREIGN: Found = { kind: 'foreign' };

/** The number of rows in a block, and of blocks in the cache: about 200 MB. */
const BLOCK_ROWS = 1_000;
const MAX_BLOCKS = 2_000;

/** Access to the tables that histories are compared with. */
export type Tables = Pick<Feed, 'open'> & Pages;

interface Block {
  readonly rows: Map<number, Found>;
  /** The last seq that was read. The channel may have grown since. */
  readonly upTo: number;
}

interface Channel {
  state: ChannelState | null;
  readonly blocks: Map<number, Block>;
  /** Epochs that are known to differ from the current one, so that the state is read only once for each. */
  readonly past: Set<string>;
}

export class Contents {
  readonly #tables: Tables;
  readonly #channels = new Map<string, Channel>();
  readonly #blocks: { readonly channel: Channel; readonly index: number }[] = [];

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** Looks up a position, synchronously if it is in the cache. */
  find(name: string, position: Position): Found | Promise<Found> {
    return this.#known(this.#channels.get(name), position) ?? this.#find(name, position);
  }

  /** Reads the current state of a channel. Resolves to null if it does not exist. */
  async state(name: string): Promise<ChannelState | null> {
    return (await this.#refresh(name)).state;
  }

  async #find(name: string, position: Position): Promise<Found> {
    let channel = this.#channels.get(name) ?? (await this.#refresh(name));
    const { epoch, seq } = position;
    const outdated = channel.state !== null && (channel.state.epoch !== epoch || channel.state.head < seq);
    if (outdated && !channel.past.has(epoch)) channel = await this.#refresh(name);
    if (channel.state === null || (channel.state.epoch === epoch && channel.state.head < seq)) return FOREIGN;
    if (channel.state.epoch !== epoch) {
      channel.past.add(epoch);
      return PAST;
    }
    await this.#read(name, channel, seq);
    // A row that is missing was pruned a moment ago, or never existed.
    return this.#known(channel, position) ?? this.#known(await this.#refresh(name), position) ?? FOREIGN;
  }

  #known(channel: Channel | undefined, { epoch, seq }: Position): Found | undefined {
    if (channel?.state?.epoch !== epoch) return undefined;
    return channel.blocks.get(indexOf(seq))?.rows.get(seq) ?? (seq < channel.state.floor ? GONE : undefined);
  }

  async #refresh(name: string): Promise<Channel> {
    const state = await this.#tables.open(name).catch((error: unknown) => {
      if (error instanceof Refusal && error.code === 'invalid_channel') return null;
      throw error;
    });
    const channel = this.#channels.get(name) ?? { state, blocks: new Map<number, Block>(), past: new Set<string>() };
    this.#channels.set(name, channel);
    if (channel.state?.epoch !== state?.epoch) {
      channel.blocks.clear();
      channel.past.clear();
    }
    channel.state = state;
    return channel;
  }

  async #read(name: string, channel: Channel, seq: number): Promise<void> {
    const index = indexOf(seq);
    const upTo = Math.min((index + 1) * BLOCK_ROWS, channel.state?.head ?? 0);
    if ((channel.blocks.get(index)?.upTo ?? 0) >= upTo) return;
    const rows = new Map<number, Found>();
    for (let after = index * BLOCK_ROWS; after < upTo; ) {
      const run = await this.#tables.page(name, after, upTo);
      if (run.withheld !== undefined) after = run.withheld.seq;
      else if (run.rows === null) break;
      for (const { seq, json } of run.rows ?? []) {
        rows.set(seq, { kind: 'row', digest: digestOf(JSON.parse(json)) });
        after = seq;
      }
    }
    if (!channel.blocks.has(index) && this.#blocks.push({ channel, index }) > MAX_BLOCKS) {
      const oldest = this.#blocks.shift();
      oldest?.channel.blocks.delete(oldest.index);
    }
    channel.blocks.set(index, { rows, upTo });
  }
}

function indexOf(seq: number): number {
  return Math.floor((seq - 1) / BLOCK_ROWS);
}
