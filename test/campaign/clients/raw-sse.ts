import { setTimeout as delay } from 'node:timers/promises';
import { parseFrame } from '../../../client/protocol/index.js';
import type { Random } from '../../support/random.js';
import { EventStream } from './event-stream.js';
import { Frames } from './frames.js';
import type { Memory } from './memory.js';
import type { Reader } from './reader.js';

/** Until the stream says how long, in milliseconds. */
const RETRY = 1_000;
/** So that not all come back at once. */
const LONGEST_EXTRA = 500;

/**
 * What an EventSource does, and nothing more: it asks for the same address again and again, with the last `id` it saw. It
 * keeps no positions of its own, hears no heartbeat, and stays away for good after any answer but a stream.
 */
export class RawSseReader implements Reader {
  readonly #memory: Memory;
  readonly #ports: readonly number[];
  readonly #random: Random;
  readonly #frames: Frames;
  readonly #stop = new AbortController();
  #lastEventId = '';
  #retry = RETRY;
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
    void this.#comeBack();
  }

  finish(): void {
    // It reads as fast as it can all the time.
  }

  close(): void {
    this.#stop.abort();
  }

  async #comeBack(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const goesOn = await this.#visit(signal).catch(() => true);
      this.#connected = false;
      if (!goesOn) return;
      const extra = this.#random.int(0, LONGEST_EXTRA);
      await delay(this.#retry + extra, undefined, { signal }).catch(() => {});
    }
  }

  /** False where an EventSource would not come back. Rejects where the connection breaks. */
  async #visit(signal: AbortSignal): Promise<boolean> {
    const address = new URL(`http://127.0.0.1:${this.#random.pick(this.#ports)}/v1/sse?since=start`);
    for (const channel of this.#memory.channels) address.searchParams.append('channel', channel);
    const headers = { Accept: 'text/event-stream', ...(this.#lastEventId && { 'Last-Event-ID': this.#lastEventId }) };
    const { status, headers: answer, body } = await fetch(address, { headers, signal });
    if (status !== 200 || !answer.get('content-type')?.startsWith('text/event-stream') || body === null) {
      await body?.cancel();
      this.#memory.fault(`was answered with ${status}, after which an EventSource stays away`);
      return false;
    }
    this.#goOn();
    const stream = new EventStream(this.#lastEventId, (data) => {
      const frame = parseFrame(data);
      if (frame?.type === 'connected') this.#connected = true;
      if (frame !== null) this.#frames.take(frame);
    });
    try {
      for await (const chunk of body) stream.take(chunk);
    } finally {
      this.#lastEventId = stream.lastEventId;
      this.#retry = stream.retry ?? this.#retry;
    }
    return true;
  }

  /** Where the gateway goes on is up to the id, so what the id says wrong must be seen. */
  #goOn(): void {
    if (this.#lastEventId === '') return;
    for (const pair of this.#lastEventId.split('&')) {
      const [channel = '', since = ''] = pair.split('=');
      this.#frames.goOn(decodeURIComponent(channel), since);
    }
  }
}
