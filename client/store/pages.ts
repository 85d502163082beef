/**
 * The events of a channel that are not live, in pages of equal length: because the numbers have no gaps, page 7 is known
 * without reading the six before it. The pages that were used last are kept, within a bound.
 */
import { RowcastError } from '../ground/error.js';
import { asFrame, formatPosition, type Position, parsePosition } from '../protocol/index.js';
import { eventOf, type StreamEvent } from '../subscription/subscription.js';
import type { Api } from './api.js';
import type { Following, Host } from './following.js';
import type { Rows } from './rows.js';
import { sizeOf } from './size-of.js';

/** Events of a page. */
export const PAGE = 500;
/** How many bytes the pages of one channel may take, as JSON. */
const MAX_BYTES = 8 * 1024 * 1024;

interface Page {
  readonly events: (StreamEvent | undefined)[];
  /** All events up to this seq were read; those that could not be sent are left out. */
  upTo: number;
  bytes: number;
}

/** The pages of a channel, which all that read it share, until its newest events are forgotten. */
export function pagesOf(host: Host, api: Api, rows: Following<Rows>): Pages {
  return host.shared(`pages ${rows.channel}`, rows, () => new Pages(api, rows.channel)) as Pages;
}

export const pageOf = (seq: number): number => Math.floor((seq - 1) / PAGE);

export class Pages {
  readonly channel: string;
  readonly #api: Pick<Api, 'poll'>;
  /** The one that was used last is the last. */
  readonly #pages = new Map<number, Page>();
  readonly #loading = new Map<number, Promise<void>>();
  #abort = new AbortController();
  #epoch = '';

  constructor(api: Pick<Api, 'poll'>, channel: string) {
    this.#api = api;
    this.channel = channel;
  }

  /** Undefined while it is not loaded, and for an event that could not be sent. */
  at(seq: number): StreamEvent | undefined {
    return this.#pages.get(pageOf(seq))?.events[(seq - 1) % PAGE];
  }

  /** Whether all events of a page up to `head` were read. */
  has(page: number, head: number): boolean {
    return (this.#pages.get(page)?.upTo ?? 0) >= Math.min((page + 1) * PAGE, head);
  }

  /** Reads the events of a page up to `head`. Rejects with `RowcastError`. */
  load(page: number, { epoch, seq: head }: Position): Promise<void> {
    if (epoch !== this.#epoch) this.clear(epoch);
    const loading = this.#loading.get(page) ?? this.#load(page, head).finally(() => this.#loading.delete(page));
    this.#loading.set(page, loading);
    return loading;
  }

  clear(epoch = ''): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#pages.clear();
    this.#loading.clear();
    this.#epoch = epoch;
  }

  async #load(page: number, head: number): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted && !this.has(page, head)) {
      const seq = this.#touch(page).upTo;
      const since = formatPosition({ epoch: this.#epoch, seq });
      const answer = await this.#api.poll(this.channel, since, signal);
      if (signal.aborted) return;
      this.#take(answer, page);
      if (this.#touch(page).upTo === seq) throw new RowcastError('unavailable', 'the gateway has not read that far');
    }
  }

  #touch(number: number): Page {
    const page = this.#pages.get(number) ?? { events: [], upTo: number * PAGE, bytes: 0 };
    this.#pages.delete(number);
    this.#pages.set(number, page);
    return page;
  }

  /** Keeps what a response to the request for a page has, which may be more than that. */
  #take(answer: unknown, asked: number): void {
    const { frames } = Object(answer) as { frames?: unknown };
    for (const value of Array.isArray(frames) ? frames : []) {
      const frame = asFrame(value);
      if (frame?.type === 'events') for (const [i, row] of frame.events.entries()) this.#put(frame.from + i, row);
      const position = frame?.type === 'reset' ? parsePosition(frame.position) : null;
      if (position === null) continue;
      if (position.epoch !== this.#epoch) return;
      // What is not there any more was read as far as it can be.
      for (const page of new Set([asked, pageOf(position.seq)]))
        this.#touch(page).upTo = Math.min((page + 1) * PAGE, position.seq);
    }
    this.#shorten();
  }

  #put(seq: number, row: Readonly<Record<string, unknown>>): void {
    const page = this.#touch(pageOf(seq));
    if (seq !== page.upTo + 1) return;
    page.events[(seq - 1) % PAGE] = eventOf(this.channel, { epoch: this.#epoch, seq }, row);
    page.upTo = seq;
    page.bytes += sizeOf(row);
  }

  #shorten(): void {
    let bytes = 0;
    for (const page of this.#pages.values()) bytes += page.bytes;
    for (const [number, page] of this.#pages) {
      if (bytes <= MAX_BYTES || this.#pages.size <= 2) return;
      bytes -= page.bytes;
      this.#pages.delete(number);
    }
  }
}
