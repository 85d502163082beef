import { setTimeout as delay } from 'node:timers/promises';
import { type FetchError, type JsonBatch, stream } from '@durable-streams/client';
import { formatPosition, parsePosition, type Row } from '../../../client/protocol/index.js';
import { sinceOf } from '../../../server/durable-streams/offset.js';
import type { Random } from '../../support/random.js';
import type { Memory } from './memory.js';
import type { Reader } from './reader.js';

/** How long a visit lasts, and how long it is until the next; in milliseconds. */
const STAYS = [2_000, 20_000] as const;
const AWAY = [50, 1_500] as const;
/** What was asked for cannot be had any more: the reader begins again. */
const GONE = 410;

/**
 * The client of Durable Streams, once for each channel. It comes back with the offset that it was given last, to any
 * gateway. An event has no number there, so its number is taken from the offset after it.
 */
export class DurableReader implements Reader {
  readonly #memory: Memory;
  readonly #ports: readonly number[];
  readonly #random: Random;
  readonly #stop = new AbortController();
  #open = 0;

  constructor(memory: Memory, ports: readonly number[], random: Random) {
    this.#memory = memory;
    this.#ports = ports;
    this.#random = random;
  }

  /** By all its channels. */
  get connected(): boolean {
    return this.#open === this.#memory.channels.length;
  }

  start(): void {
    for (const channel of this.#memory.channels) {
      this.#memory.begin(channel, 'start');
      void this.#follow(channel);
    }
  }

  finish(): void {
    // It reads as fast as it can all the time.
  }

  close(): void {
    this.#stop.abort();
  }

  async #follow(channel: string): Promise<void> {
    const { signal } = this.#stop;
    let offset = '-1';
    const take = (batch: JsonBatch<Row>) => {
      this.#take(channel, batch);
      offset = batch.offset;
    };
    while (!signal.aborted) {
      const status = await this.#visit(channel, offset, take).then(
        () => null,
        (error: Partial<FetchError>) => error.status,
      );
      if (signal.aborted) return;
      if (status === GONE) {
        this.#memory.end([channel]);
        this.#memory.begin(channel, 'start');
        offset = '-1';
      }
      await delay(this.#random.int(...AWAY), undefined, { signal }).catch(() => {});
    }
  }

  /** Resolves when it leaves of its own accord, rejects when it is sent away. */
  async #visit(channel: string, offset: string, take: (batch: JsonBatch<Row>) => void): Promise<void> {
    const leaves = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(this.#random.int(...STAYS))]);
    const response = await stream<Row>({
      url: `http://any.gateway/v1/streams/${channel.split(':').map(encodeURIComponent).join('/')}`,
      offset,
      live: this.#random.pick(['sse', 'long-poll'] as const),
      signal: leaves,
      fetch: (input, init) => {
        const address = new URL(input instanceof Request ? input.url : input);
        return fetch(Object.assign(address, { host: `127.0.0.1:${this.#random.pick(this.#ports)}` }), init);
      },
    });
    this.#memory.connected();
    this.#open += 1;
    try {
      response.subscribeJson(take);
      await response.closed;
    } finally {
      this.#open -= 1;
    }
  }

  #take(channel: string, { items, offset }: JsonBatch<Row>): void {
    const last = parsePosition(sinceOf(offset) ?? '');
    if (last === null) return this.#memory.fault(`${channel}: an offset that is none: ${offset}`);
    const before = { epoch: last.epoch, seq: last.seq - items.length };
    if (this.#memory.position(channel) !== formatPosition(before))
      this.#memory.subscribed(channel, formatPosition(before));
    for (const [index, row] of items.entries()) {
      this.#memory.event(channel, { epoch: last.epoch, seq: before.seq + 1 + index }, row);
    }
  }
}
