import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { type Frame, formatPosition, parseFrame, parsePosition } from '../../../client/protocol/index.js';
import type { Random } from '../../support/random.js';
import { Frames } from './frames.js';
import type { Memory } from './memory.js';
import type { Reader } from './reader.js';

/** What the gateway is asked to wait, by turns; in seconds. */
const WAITS = [0, 1, 5, 20] as const;
/** Between two requests of which the first had nothing, or failed; in milliseconds. */
const PAUSE = [50, 1_500] as const;
/** An answer that is not there so long after its time never comes; in milliseconds. */
const PATIENCE = 5_000;

const answer = z.object({
  frames: z.array(z.unknown()),
  positions: z.record(z.string(), z.string()),
});

type Answer = z.infer<typeof answer>;

/** Asks for what follows its positions, again and again, and goes on at those it is given. Each request goes to any gateway. */
export class RawPollReader implements Reader {
  readonly #memory: Memory;
  readonly #ports: readonly number[];
  readonly #random: Random;
  readonly #frames: Frames;
  readonly #stop = new AbortController();
  #finishing = false;
  /** The last request was answered. */
  #connected = false;

  constructor(memory: Memory, ports: readonly number[], random: Random) {
    this.#memory = memory;
    this.#ports = ports;
    this.#random = random;
    this.#frames = new Frames(memory);
  }

  get connected(): boolean {
    return this.#connected;
  }

  start(): void {
    this.#frames.begin();
    void this.#ask();
  }

  finish(): void {
    this.#finishing = true;
  }

  close(): void {
    this.#stop.abort();
  }

  async #ask(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const wait = this.#finishing ? 1 : this.#random.pick(WAITS);
      const moved = await this.#request(wait, signal).catch(() => null);
      if (moved !== null && !this.#connected) this.#memory.connected();
      this.#connected = moved !== null;
      if (moved) continue;
      await delay(this.#random.int(...PAUSE), undefined, { signal }).catch(() => {});
    }
  }

  /** Whether something came. Rejects where the request failed. */
  async #request(wait: number, signal: AbortSignal): Promise<boolean> {
    const address = new URL(`http://127.0.0.1:${this.#random.pick(this.#ports)}/v1/poll?wait=${wait}`);
    for (const channel of this.#memory.channels) {
      address.searchParams.append('channel', channel);
      address.searchParams.append('since', this.#frames.since(channel));
    }
    const limit = AbortSignal.any([signal, AbortSignal.timeout(wait * 1_000 + PATIENCE)]);
    const response = await fetch(address, { signal: limit });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`answered with ${response.status}`);
    }
    return this.#take(answer.parse(await response.json()));
  }

  /** Whether something came. */
  #take({ frames: said, positions }: Answer): boolean {
    const frames = said.flatMap((frame) => parseFrame(JSON.stringify(frame)) ?? []);
    const concerns = (channel: string) => (frame: Frame) => 'channel' in frame && frame.channel === channel;
    // Without a position the numbering of events before a reset cannot be told: the same is asked again.
    const unknown = this.#memory.channels.filter((channel) => parsePosition(this.#frames.since(channel)) === null);
    for (const channel of unknown) {
      const [first] = frames.filter(concerns(channel));
      const { epoch, seq } = parsePosition(positions[channel] ?? '') ?? {};
      if (epoch === undefined || seq === undefined) continue;
      const before = first?.type === 'events' ? first.from - 1 : seq;
      if (frames.some((frame) => concerns(channel)(frame) && frame.type === 'reset')) return false;
      this.#frames.goOn(channel, formatPosition({ epoch, seq: before }));
      this.#memory.subscribed(channel, formatPosition({ epoch, seq: before }));
    }
    for (const frame of frames) this.#frames.take(frame);
    for (const [channel, position] of Object.entries(positions)) this.#frames.goOn(channel, position);
    return frames.some(({ type }) => type === 'events' || type === 'reset');
  }
}
