import { type Collection, follow } from '../../../client/follow/index.js';
import { type Client, createClient } from '../../../client/node.js';
import type { Random } from '../../support/random.js';
import type { Memory } from './memory.js';
import type { Ports } from './plan.js';
import type { Reader } from './reader.js';
import { waysTo } from './ways.js';

const TRANSPORTS = ['websocket', 'sse', 'poll'] as const;

interface Score {
  readonly writer: number;
  readonly counter: number;
}

/** Live collections of a tracked table: snapshots and requests from any of the gateways, events over one of the transports. */
export class FollowReader implements Reader {
  readonly #memory: Memory;
  readonly #client: Client;
  readonly #collections = new Map<string, Collection<Score>>();

  constructor(memory: Memory, ports: Ports, random: Random) {
    this.#memory = memory;
    this.#client = createClient({
      url: `http://${memory.name}`,
      ...waysTo(ports, random),
      transports: [random.pick(TRANSPORTS)],
      onState: (state) => {
        if (state === 'connected') memory.connected();
      },
    });
  }

  get connected(): boolean {
    return this.#client.state === 'connected';
  }

  start(): void {
    for (const channel of this.#memory.channels) {
      const onChange = ({ changed, removed }: { changed: readonly string[]; removed: readonly string[] }) =>
        this.#memory.changed(changed.length + removed.length);
      this.#collections.set(channel, follow<Score>(this.#client, channel, { onChange }));
    }
  }

  /** Whether the collection equals the table, which `boards` of ../arrival.ts has read. */
  holds(channel: string, wanted: string): boolean {
    const collection = this.#collections.get(channel);
    const scores = [...(collection?.rows.values() ?? [])].sort((a, b) => a.writer - b.writer);
    return (
      collection?.status === 'live' && scores.map(({ writer, counter }) => `${writer}:${counter}`).join() === wanted
    );
  }

  finish(): void {
    // It follows all the time.
  }

  close(): void {
    for (const collection of this.#collections.values()) collection.close();
    this.#client.close();
  }
}
