/**
 * The executions of a venture, kept current: the first page, and its channel from the position of that page on. It tells which
 * were created and which changed their status; those, and the ones that run, are read again at most once a second. New ones
 * wait, so that the list does not move under its reader.
 */
import type { Since } from '../protocol/index.js';
import type { StreamEvent } from '../subscription/subscription.js';
import type { Api } from './api.js';
import {
  type ExecutionFilter,
  type ExecutionRow,
  type Listing,
  listingOf,
  type StatusCounts,
} from './execution-row.js';
import { Following, type Host } from './following.js';
import { Listeners } from './listeners.js';
import type { Live, Store } from './live.js';
import type { Reader } from './reader.js';
import { shared } from './shared.js';

export interface ExecutionList {
  /** The newest first. */
  readonly rows: readonly ExecutionRow[];
  /** How many executions of each status the venture has, whatever the filter; null where the gateway does not say. */
  readonly counts: StatusCounts | null;
  /** How many new ones wait for `show`. */
  readonly waiting: number;
  /** Whether there are older ones, which `loadMore` reads. */
  readonly more: boolean;
}

/** Executions of a page, and how many are read again at once. */
const PAGE = 50;
const MOST = 100;
/** The least time between two reads, in milliseconds. */
const EVERY = 1_000;

/** Notes which executions the events are about. */
class Changes implements Reader<number> {
  readonly ids = new Set<string>();
  readonly begin: (signal: AbortSignal) => Promise<Since>;
  #version = 0;

  /** `begin`: reads the list, and resolves with its position. */
  constructor(begin: (signal: AbortSignal) => Promise<Since>) {
    this.begin = begin;
  }

  event({ row }: StreamEvent): void {
    if (typeof row.execution_id === 'string') this.ids.add(row.execution_id);
    this.#version += 1;
  }

  reset(): boolean {
    return true;
  }

  value(): number {
    return this.#version;
  }
}

export interface ExecutionsStore extends Store<Live<ExecutionList>> {
  /** Puts the new ones that wait into the list. */
  show(): void;
  /** Reads the next page of older ones. Rejects with `RowcastError`. */
  loadMore(): Promise<void>;
}

export class Executions implements ExecutionsStore {
  readonly following: Following<number>;
  readonly #host: Host;
  readonly #api: Api;
  readonly #venture: string;
  readonly #filter: ExecutionFilter;
  readonly #changes = new Changes((signal) => this.#begin(signal));
  readonly #listeners = new Listeners(
    () => this.#attach(),
    () => this.#detach(),
  );
  readonly subscribe = this.#listeners.subscribe;
  #rows: readonly ExecutionRow[] = [];
  #waiting: readonly ExecutionRow[] = [];
  #counts: StatusCounts | null = null;
  #cursor: string | null = null;
  #reading = false;
  #list: ExecutionList | undefined;
  #live: Live<ExecutionList>;
  #unfollow: (() => void)[] = [];
  #cancelNext: (() => void) | null = null;

  constructor(host: Host, api: Api, venture: string, filter: ExecutionFilter = {}) {
    this.#host = host;
    this.#api = api;
    this.#venture = venture;
    this.#filter = filter;
    this.following = new Following({ host, channel: `venture:${venture}`, reader: this.#changes });
    this.#live = this.#compute();
  }

  readonly get = (): Live<ExecutionList> => this.#live;

  readonly show = (): void => {
    this.#rows = merged(this.#rows, this.#waiting);
    this.#waiting = [];
    this.#tell();
  };

  readonly loadMore = async (): Promise<void> => {
    if (this.#cursor === null) return;
    const { rows, cursor } = await this.#page(this.#cursor);
    this.#cursor = cursor;
    this.#rows = merged(this.#rows, rows);
    this.#tell();
  };

  #attach(): void {
    this.#unfollow = [this.following.subscribe(this.#onChange), this.#host.seconds.subscribe(this.#onChange)];
    this.#onChange();
  }

  #detach(): void {
    this.#cancelNext?.();
    this.#cancelNext = null;
    for (const unfollow of this.#unfollow.splice(0)) unfollow();
  }

  /** Reads now, or a second after the last time, if there is something to read. */
  readonly #onChange = (): void => {
    this.#tell();
    const { status } = this.following.get();
    if (this.#cancelNext !== null || this.#reading || status !== 'live') return;
    if (this.#changes.ids.size === 0 && !this.#rows.some(isRunning)) return;
    this.#cancelNext = this.#host.clock.after(EVERY, () => {
      this.#cancelNext = null;
      this.#onChange();
    });
    void this.#read();
  };

  /** The first page, and the position of the venture's channel at the moment of it. */
  async #begin(signal: AbortSignal): Promise<Since> {
    const { rows, counts, cursor, position } = await this.#page(null, signal);
    if (!signal.aborted) {
      this.#changes.ids.clear();
      this.#rows = rows;
      this.#waiting = [];
      this.#counts = counts;
      this.#cursor = cursor;
    }
    return position ?? 'now'; // without the right to read the channel, the subscription is refused
  }

  async #read(): Promise<void> {
    this.#reading = true;
    const ids = [...this.#changes.ids].slice(0, MOST);
    for (const id of ids) this.#changes.ids.delete(id);
    try {
      if (ids.length > 0) this.#counts = listingOf(await this.#ask({ limit: '1', counts: '1' })).counts;
      await this.#again(ids);
    } catch {
      for (const id of ids) this.#changes.ids.add(id); // tried again in a second
    }
    this.#reading = false;
    this.#tell();
  }

  /** Reads these again, and those that run. */
  async #again(ids: readonly string[]): Promise<void> {
    const running = this.#rows.filter(isRunning).map(({ id }) => id);
    const asked = [...new Set([...ids, ...running])].slice(0, MOST);
    if (asked.length === 0) return;
    const { rows } = listingOf(await this.#api.get(`/executions?ids=${asked.join()}`));
    const fitting = rows.filter((row) => this.#fits(row));
    const gone = new Set(asked.filter((id) => !fitting.some((row) => row.id === id)));
    const stay = (row: ExecutionRow) => !gone.has(row.id);
    const known = new Set(this.#rows.map(({ id }) => id));
    // Nothing moves where there is nothing to look at.
    const isNew = ({ id }: ExecutionRow) => known.size > 0 && !known.has(id);
    this.#rows = merged(
      this.#rows.filter(stay),
      fitting.filter((row) => !isNew(row)),
    );
    this.#waiting = merged(this.#waiting.filter(stay), fitting.filter(isNew));
  }

  #fits({ status }: ExecutionRow): boolean {
    return !this.#filter.status?.length || this.#filter.status.includes(status);
  }

  async #page(cursor: string | null, signal?: AbortSignal): Promise<Listing> {
    const status: Record<string, string> = this.#filter.status?.length ? { status: this.#filter.status.join() } : {};
    const after: Record<string, string> = cursor === null ? { counts: '1' } : { cursor };
    return listingOf(await this.#ask({ ...status, ...after, limit: String(PAGE) }, signal));
  }

  #ask(query: Record<string, string>, signal?: AbortSignal): Promise<unknown> {
    return this.#api.get(`/executions?${new URLSearchParams({ venture_id: this.#venture, ...query })}`, signal);
  }

  #tell(): void {
    const live = this.#compute();
    if (live === this.#live) return;
    this.#live = live;
    this.#listeners.tell();
  }

  #compute(): Live<ExecutionList> {
    const live = this.following.get();
    if (live.data === undefined) return shared(this.#live, { ...live, data: undefined });
    this.#list = shared(this.#list, {
      rows: this.#rows,
      counts: this.#counts,
      waiting: this.#waiting.length,
      more: this.#cursor !== null,
    });
    return shared(this.#live, { ...live, data: this.#list } as Live<ExecutionList>);
  }
}

const isRunning = ({ status }: ExecutionRow) => status === 'running';

/** The newest first, each once: as it is in `changed`, if it is there. */
function merged(rows: readonly ExecutionRow[], changed: readonly ExecutionRow[]): readonly ExecutionRow[] {
  const byId = new Map([...rows, ...changed].map((row) => [row.id, row]));
  return [...byId.values()].sort((one, other) => other.createdAt - one.createdAt || (one.id < other.id ? 1 : -1));
}
