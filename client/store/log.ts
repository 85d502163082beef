/**
 * A whole channel as a list of which only what is shown is loaded: the newest events are followed, those before them are
 * pages. With a filter the matches are collected from the newest back, while new ones are added at the end.
 */
import { errorOf, type RowcastError } from '../ground/error.js';
import { type Position, parsePosition, type Row, type Since } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';
import type { Api } from './api.js';
import { Following, type Host } from './following.js';
import { Listeners } from './listeners.js';
import type { Live, Store } from './live.js';
import { type LogFilter, matcherOf } from './log-filter.js';
import { type Found, type SearchBack, searchOf } from './log-search.js';
import { type Pages, pageOf, pagesOf } from './pages.js';
import type { Range, Reader } from './reader.js';
import type { Rows } from './rows.js';
import { sizeOf } from './size-of.js';

export interface LogWindow<R extends object = Row> {
  readonly status: Live<unknown>['status'];
  readonly error: RowcastError | null;
  /** Without a filter, of all events from `floor` to `head`; with one, of the matches that were found so far. */
  readonly length: number;
  /** Undefined while it is not loaded: `show` loads it. Index 0 is the oldest. */
  at(index: number): StreamEvent<R> | undefined;
  /** The seq at an index, loaded or not. */
  seqAt(index: number): number | undefined;
  /** The index of the event with this seq; with a filter, of the first match from there on. `length` if there is none. */
  indexOf(seq: number): number;
  readonly floor: number;
  readonly head: number;
  /** The part of the channel that was searched for matches; null without a filter. It grows until it is all. */
  readonly searched: { readonly from: number; readonly to: number } | null;
  /** The latest places at which history could not be served. */
  readonly resets: readonly Reset[];
  /** The rows from one index to another, the last excluded, are visible: loads what is missing of them. Call it in an effect. */
  show(from: number, to: number): void;
}

/** How many bytes the events that a search has brought may take, as JSON. Those beyond it are read again with their pages. */
const MAX_BYTES = 8 * 1024 * 1024;

/** The seqs of the matches, in order. */
class Matches implements Reader<Matches> {
  readonly #matches: (event: StreamEvent) => boolean;
  readonly #newest: number;
  /** Those found on the way back, the newest first; and those that came since. */
  #older: number[] = [];
  #newer: number[] = [];
  readonly #events = new Map<number, StreamEvent>();
  #bytes = 0;
  /** What was searched; `from` is 0 before the first event. */
  from = 0;
  to = 0;

  constructor(matches: (event: StreamEvent) => boolean, newest: number) {
    this.#matches = matches;
    this.#newest = newest;
  }

  get length(): number {
    return this.#older.length + this.#newer.length;
  }

  at(index: number): number | undefined {
    const { length } = this.#older;
    return index < length ? this.#older[length - 1 - index] : this.#newer[index - length];
  }

  /** The event of a match, if it is kept. */
  kept(seq: number): StreamEvent | undefined {
    return this.#events.get(seq);
  }

  begin(): Since {
    this.#older = [];
    this.#newer = [];
    this.#events.clear();
    this.#bytes = 0;
    this.from = 0;
    this.to = 0;
    return String(-this.#newest);
  }

  event(event: StreamEvent): void {
    if (this.from === 0) this.from = event.seq;
    this.to = event.seq;
    if (this.#matches(event)) this.#newer.push(event.seq);
  }

  /** What a search has found before `before`, where this one has come to. */
  back(before: number, { events, from }: Found): void {
    if (this.from !== before) return; // it has begun anew meanwhile
    this.from = from;
    for (const event of events) {
      if (event.seq >= before || !this.#matches(event)) continue;
      this.#older.push(event.seq);
      this.#bytes += sizeOf(event.row);
      if (this.#bytes <= MAX_BYTES) this.#events.set(event.seq, event);
    }
  }

  reset({ reason }: Reset): boolean {
    return reason === 'epoch' || reason === 'ahead';
  }

  value(): Matches {
    return this;
  }
}

export interface LogParts {
  readonly host: Host;
  readonly api: Api;
  readonly rows: Following<Rows>;
  readonly filter: LogFilter | undefined;
}

/** The newest events that are searched at once: those that are followed anyway. */
const NEWEST = 1_000;

export class Log implements Store<LogWindow> {
  readonly #host: Host;
  readonly #rows: Store<Live<Rows>>;
  readonly #pages: Pages;
  readonly #matches: Matches | null;
  readonly #searchBack: SearchBack;
  readonly #following: Following<Matches> | null;
  readonly #listeners = new Listeners(
    () => this.#attach(),
    () => this.#detach(),
  );
  readonly subscribe = this.#listeners.subscribe;
  #window: LogWindow;
  #shown: { readonly from: number; readonly to: number } = { from: 0, to: 0 };
  #loading = false;
  #searching = false;
  #error: RowcastError | null = null;
  #unfollow: (() => void)[] = [];
  #cancelRetry: () => void = () => {};

  constructor({ host, api, rows, filter }: LogParts) {
    this.#host = host;
    this.#rows = rows;
    this.#pages = pagesOf(host, api, rows);
    const matches = filter && matcherOf(filter);
    this.#searchBack = searchOf(api, this.#pages, filter ?? {});
    this.#matches = matches ? new Matches(matches, NEWEST) : null;
    this.#following = this.#matches && new Following({ host, channel: rows.channel, reader: this.#matches });
    this.#window = this.#compute();
  }

  readonly get = (): LogWindow => this.#window;

  /** What follows the matches, beside the rows. */
  get following(): Following<unknown> | null {
    return this.#following;
  }

  flush(): void {
    this.#window = this.#compute();
    this.#listeners.tell();
    this.#load();
    this.#search();
  }

  #attach(): void {
    const change = () => this.flush();
    this.#unfollow = [this.#rows.subscribe(change)];
    if (this.#following !== null) this.#unfollow.push(this.#following.subscribe(change));
    this.#window = this.#compute();
  }

  #detach(): void {
    this.#cancelRetry();
    for (const unfollow of this.#unfollow.splice(0)) unfollow();
  }

  #compute(): LogWindow {
    const live = this.#rows.get();
    const { status, data: rows } = live;
    const range: Range = rows ?? { floor: 0, head: 0, position: null };
    const { floor, head } = range;
    const matches = this.#matches;
    const total = rows === undefined || head === 0 ? 0 : head - floor + 1;
    const length = matches?.length ?? total;
    const seqAt = (index: number) => {
      if (index < 0 || index >= length) return undefined;
      return matches === null ? floor + index : matches.at(index);
    };
    const eventAt = (seq: number) => this.#eventAt(rows, seq);
    return {
      status,
      error: live.error ?? this.#error,
      length,
      floor,
      head,
      resets: rows?.resets ?? [],
      searched: matches && { from: matches.from, to: matches.to },
      seqAt,
      at: (index) => {
        const seq = seqAt(index);
        return seq === undefined ? undefined : eventAt(seq);
      },
      indexOf: (seq) => {
        let [low, high] = [0, length];
        while (low < high) {
          const middle = (low + high) >> 1;
          if ((seqAt(middle) ?? 0) < seq) low = middle + 1;
          else high = middle;
        }
        return low;
      },
      show: this.#show,
    };
  }

  readonly #show = (from: number, to: number): void => {
    this.#shown = { from, to };
    this.#load();
  };

  /** Loads the first page that is missing of what is shown; then the next one. */
  #load(): void {
    if (this.#loading || !this.#listeners.any) return;
    const { from, to } = this.#shown;
    const rows = this.#rows.get().data;
    const head = this.#head();
    if (head === null) return;
    for (let index = Math.max(0, from); index < Math.min(to, this.#window.length); index += 1) {
      const seq = this.#window.seqAt(index) ?? 0;
      if (this.#eventAt(rows, seq) !== undefined || this.#pages.has(pageOf(seq), head.seq)) continue;
      this.#loading = true;
      void this.#request(this.#pages.load(pageOf(seq), head), () => {
        this.#loading = false;
      });
      return;
    }
  }

  #eventAt(rows: Rows | undefined, seq: number): StreamEvent | undefined {
    return rowOf(rows, seq) ?? this.#matches?.kept(seq) ?? this.#pages.at(seq);
  }

  /** Searches before what was searched; then before that, for as long as something looks at it. */
  #search(): void {
    const matches = this.#matches;
    const head = this.#head();
    if (matches === null || this.#searching || head === null || !this.#listeners.any) return;
    const floor = this.#window.floor;
    const before = matches.from;
    if (before <= Math.max(1, floor)) return;
    this.#searching = true;
    void this.#request(this.#searchBack(before, floor, head), (found) => {
      this.#searching = false;
      if (found !== null) matches.back(before, found);
    });
  }

  /** `done` is called with null where it failed. That is shown, and what is missing asked for again. */
  async #request<T>(asked: Promise<T>, done: (result: T | null) => void): Promise<void> {
    try {
      done(await asked);
      this.#error = null;
      this.#host.flusher.request(this);
    } catch (reason) {
      this.#error = errorOf(reason);
      done(null);
      this.#cancelRetry();
      if (this.#listeners.any) this.#cancelRetry = this.#host.clock.after(RETRY, () => this.flush());
    }
  }

  #head(): Position | null {
    const { position, head } = this.#rows.get().data ?? {};
    const known = parsePosition(position ?? '');
    return known === null ? null : { epoch: known.epoch, seq: head ?? known.seq };
  }
}

/** After a page could not be read it is tried again after this time, in milliseconds. */
const RETRY = 2_000;

/** An event of the newest, by its seq; they are in order, and some may be left out. */
function rowOf(rows: Rows | undefined, seq: number): StreamEvent | undefined {
  if (rows === undefined || rows.length === 0 || seq < rows.first) return undefined;
  const direct = rows.at(seq - rows.first);
  if (direct?.seq === seq) return direct;
  let [low, high] = [0, rows.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const event = rows.at(middle);
    if (event === undefined || event.seq === seq) return event;
    if (event.seq < seq) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}
