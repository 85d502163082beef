/**
 * What a page shows, kept outside of its components: one store for each key, however many components show it. The first
 * subscriber of a store connects, and a while after the last one has gone it leaves the channel.
 */
import type { Client, ClientOptions, PollingClient } from '../client.js';
import { RowcastError } from '../ground/error.js';
import type { PollingOptions } from '../polling/settings.js';
import type { Row, Since } from '../protocol/index.js';
import type { Transport } from '../session/open.js';
import type { StreamEvent, SubscribeOptions, Subscription } from '../subscription/subscription.js';
import { Api } from './api.js';
import type { ChannelOptions } from './channel-options.js';
import { type ConnectionState, ConnectionStore } from './connection-state.js';
import { ExecutionStore, type Initial } from './execution.js';
import type { ExecutionFilter } from './execution-row.js';
import type { ExecutionList, Executions, ExecutionsStore } from './executions.js';
import { Flusher } from './flush.js';
import { type Fold, FoldReader } from './fold.js';
import { Following, type Host } from './following.js';
import { Late } from './late.js';
import type { Latency, LatencyMeter } from './latency.js';
import { ListenReader } from './listen.js';
import { Value } from './listeners.js';
import { IDLE, type Live, LOADING, type Store } from './live.js';
import type { LogWindow } from './log.js';
import type { LogFilter } from './log-filter.js';
import { NO_LOG } from './no-log.js';
import { type Platform, page } from './platform.js';
import { PollingStore } from './polling.js';
import type { Reader } from './reader.js';
import { type Rows, RowsReader } from './rows.js';
import { Ticker } from './ticker.js';

export interface LiveStoreOptions extends ClientOptions {
  /** The HTTP API of executions: by default `url` with `/api/agents`. */
  readonly api?: string | undefined;
  /** How many of the newest events a channel keeps: 1,000. */
  readonly keep?: number | undefined;
  /** How long a channel that nothing looks at stays subscribed, in milliseconds: 3,000. */
  readonly leave?: number | undefined;
  /** How long its data and its position stay in memory after that, in milliseconds: 60,000; of all channels at most 16 MiB. */
  readonly forget?: number | undefined;
  /**
   * When readers are told of new events: with each frame of the page, or after this many milliseconds. On a hidden page once a
   * second.
   */
  readonly flush?: 'frame' | number | undefined;
  /** Of the polling after `only(['poll'])`. */
  readonly polling?: PollingOptions | undefined;
  /** What a server has read already. */
  readonly initial?: Initial | undefined;
}

const MAX_PARKED_BYTES = 16 * 1024 * 1024;
/** Stores that were made and never subscribed to, as where a component is rendered and then not shown. */
const MAX_UNUSED = 1_000;

interface Entry {
  readonly store: unknown;
  /** With this it is forgotten. */
  following(): Following<unknown> | undefined;
}

export function createLiveStore(options: LiveStoreOptions): LiveStore {
  return new LiveStore(options);
}

export class LiveStore {
  readonly connection: Store<ConnectionState>;
  readonly polling: PollingStore;
  /** Null without the option `times`, or while no event was live yet. */
  readonly latency = new Value<Latency | null>(null);
  readonly #options: LiveStoreOptions;
  readonly #platform: Platform;
  readonly #api: Api;
  readonly #host: Host;
  readonly #connection: ConnectionStore;
  readonly #entries = new Map<string, Entry>();
  /** Those that are not cold. Those that were parked first come first. */
  readonly #followings = new Set<Following<unknown>>();
  readonly #numbers = new WeakMap<object, number>();
  #lastNumber = 0;
  readonly #tickers = new Map<number, Ticker>();
  readonly #flusher: Flusher;
  #client: Client | null = null;
  #meter: Promise<LatencyMeter> | null = null;
  #transports: readonly Transport[] | null;
  #closed = false;

  constructor(options: LiveStoreOptions, platform: Platform = page) {
    const { leave = 3_000, forget = 60_000, flush = 'frame', polling = {}, transports = null } = options;
    this.#options = options;
    this.#platform = platform;
    this.#transports = transports;
    this.#api = new Api(options);
    this.#flusher = new Flusher(platform, flush);
    const seconds = new Ticker(1_000, 0, platform, () => true);
    this.#connection = new ConnectionStore(() => seconds, transports);
    this.connection = this.#connection;
    this.polling = new PollingStore(polling, () => this.#renew());
    this.#host = {
      clock: platform.clock,
      flusher: this.#flusher,
      leave,
      forget,
      seconds,
      heardAt: () => this.#client?.heardAt ?? null,
      closed: () => this.#closed,
      shared: (key, following, make) => this.#entry(key, () => ({ store: make(), following: () => following })).store,
      subscribe: (channel, options) => this.#subscribe(channel, options),
      opened: (following) => this.#followings.add(following),
      parked: (following) => this.#parked(following),
      forgotten: (following) => this.#forgotten(following),
    };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The newest events of a channel. The same name and options give the same store. */
  readonly channel = <R extends object = Row>(name: string, options: ChannelOptions<R> = {}): Store<Live<Rows<R>>> =>
    this.#channel(name, options);

  #channel<R extends object>(name: string, options: ChannelOptions<R>): Following<Rows<R>> {
    const { keep = this.#options.keep ?? 1_000, since = -keep, schema } = options;
    const key = `channel ${since} ${keep} ${schema === undefined ? '' : this.#numberOf(schema)} ${name}`;
    return this.#follow(key, name, () => new RowsReader<R>({ since: String(since), keep, schema }));
  }

  /** Calls `listener` with each event from now on, or from `since` on, at once. The returned function ends that. */
  readonly listen = <R extends object = Row>(
    name: string,
    listener: (event: StreamEvent<R>) => void,
    since: Since = 'now',
  ): (() => void) => {
    const { store } = this.#entry(`listen ${since} ${name}`, () => {
      const reader = new ListenReader(since);
      const following = new Following({ host: this.#host, channel: name, reader, resumes: false });
      return { store: { reader, following }, following: () => following };
    }) as { store: { reader: ListenReader; following: Following<null> } };
    return store.reader.add(store.following, listener as (event: StreamEvent) => void);
  };

  /** What a fold computes from a channel. The same name and the same fold object give the same store. */
  readonly fold = <S, R extends object = Row>(name: string, fold: Fold<S, R>): Store<Live<S>> =>
    this.#follow(`fold ${this.#numberOf(fold)} ${name}`, name, () => new FoldReader<S, R>(fold, name));

  /** A whole channel as a list, of which only what is shown is loaded. */
  readonly log = <R extends object = Row>(name: string, filter?: LogFilter): Store<LogWindow<R>> => {
    const { store } = this.#entry(`log ${JSON.stringify(filter ?? {})} ${name}`, () => {
      const [host, rows] = [this.#host, this.#channel<Row>(name, {})];
      const load = async () => new (await import('./log.js')).Log({ host, api: this.#api, rows, filter });
      const store = new Late(load, () => NO_LOG);
      return { store, following: () => store.loaded?.following ?? rows };
    });
    return store as Store<LogWindow<R>>;
  };

  readonly execution = (id: string): ExecutionStore => {
    const { store } = this.#entry(`execution ${id}`, () => {
      const [host, api, name] = [this.#host, this.#api, `execution:${id}`];
      const initial = this.#options.initial?.executions?.[id];
      const store = new ExecutionStore({ host, api, id, initial, rows: this.#channel<Row>(name, {}) });
      return { store, following: () => store.following };
    });
    return store as ExecutionStore;
  };

  /** The executions of a venture, the newest first. */
  readonly executions = (venture: string, filter: ExecutionFilter = {}): ExecutionsStore => {
    const status = [...(filter.status ?? [])].sort();
    const { store } = this.#entry(`executions ${status} ${venture}`, () => {
      const load = async () =>
        new (await import('./executions.js')).Executions(this.#host, this.#api, venture, { status });
      const late = new Late<Live<ExecutionList>, Executions>(load, () => LOADING);
      const { get, subscribe } = late;
      const store: ExecutionsStore = {
        get,
        getInitial: () => IDLE,
        subscribe,
        show: () => late.loaded?.show(),
        loadMore: async () => (await late.use()).loadMore(),
      };
      return { store, following: () => late.loaded?.following };
    });
    return store as ExecutionsStore;
  };

  /**
   * The time, in milliseconds since 1970, every so many milliseconds; on a server that of what it has read. It rests while the
   * page is hidden, and while there is no connection: what is not current does not look as if it went on.
   */
  readonly clock = (every: number): Store<number> => {
    const runs = () => ['connected', 'idle'].includes(this.#connection.get().state);
    const ticker = this.#tickers.get(every) ?? new Ticker(every, this.#initialTime, this.#platform, runs);
    this.#tickers.set(every, ticker);
    return ticker;
  };

  /** Limits the connection to some transports; to none, there is no connection. Everything goes on at its position. */
  readonly only = (transports?: readonly Transport[]): void => {
    this.#transports = transports ?? null;
    this.#renew();
  };

  /** Connects anew, also after the connection has failed for good, and tries again what has failed. */
  readonly reconnect = (): void => {
    if (this.#client?.state === 'closed') this.#renew();
    else this.#client?.reconnect();
    for (const following of [...this.#followings]) following.retry();
  };

  /** Ends the connection and all timers. What is shown stays, and is stale. */
  readonly close = (): void => {
    if (this.#closed) return;
    this.#closed = true;
    for (const following of [...this.#followings]) following.close();
    this.#flusher.stop();
    for (const ticker of this.#tickers.values()) ticker.stop();
    this.#connection.close();
    this.polling.use(null);
    this.#client?.close();
    this.#client = null;
  };

  /** The time of what a server has read; 0 where there is nothing. */
  get #initialTime(): number {
    return Math.max(0, ...Object.values(this.#options.initial?.executions ?? {}).map(({ at }) => at));
  }

  #subscribe(channel: string, options: SubscribeOptions): Subscription {
    if (this.#closed) throw new RowcastError('unavailable', 'the store is closed');
    if (this.#transports?.length === 0) throw new RowcastError('unavailable', 'unplugged');
    this.#client ??= this.#connect();
    const { error } = this.connection.get();
    if (this.#client.state === 'closed' && error !== null) throw error; // it has failed for good
    return this.#client.subscribe(channel, this.#options.times ? this.#measured(options) : options);
  }

  /** Measures the events that say when they were sent. What does that is loaded where it is asked for. */
  #measured(options: SubscribeOptions): SubscribeOptions {
    const roundTrip = () => this.#client?.roundTrip ?? null;
    this.#meter ??= import('./latency.js').then(
      ({ LatencyMeter }) => new LatencyMeter(this.#platform, roundTrip, (latency) => this.latency.set(latency)),
    );
    const onEvent: SubscribeOptions['onEvent'] = (event) => {
      const { times } = event;
      if (times !== undefined) void this.#meter?.then((meter) => meter.take(times));
      options.onEvent?.(event);
    };
    return { ...options, onEvent };
  }

  #connect(): Client {
    const { api, keep, leave, forget, flush, polling, initial, ...options } = this.#options;
    const transports = this.#transports;
    const interval = String(transports) === 'poll';
    const client = this.#platform.connect({
      ...options,
      transports: transports ?? undefined,
      ...(interval && { polling: this.polling.options }),
    });
    this.#use(client, interval ? (client as PollingClient) : null);
    return client;
  }

  #use(client: Client | null, polling: PollingClient | null): void {
    this.polling.use(polling);
    this.#connection.use(client, this.#transports);
  }

  /** Moves everything to a new client. */
  #renew(): void {
    const old = this.#client;
    this.#client = null;
    if (this.#closed) return;
    const unplugged = this.#transports?.length === 0;
    if (unplugged) this.#use(null, null);
    for (const following of [...this.#followings]) following.move();
    if (old !== null && !unplugged) this.#client ??= this.#connect();
    old?.close();
  }

  #follow<T>(key: string, channel: string, reader: () => Reader<T>): Following<T> {
    const { store } = this.#entry(key, () => {
      const following = new Following<T>({ host: this.#host, channel, reader: reader() });
      return { store: following, following: () => following };
    });
    return store as Following<T>;
  }

  #entry(key: string, make: () => Entry): Entry {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    if (this.#entries.size - this.#followings.size > MAX_UNUSED) this.#dropUnused();
    const entry = make();
    this.#entries.set(key, entry);
    return entry;
  }

  #dropUnused(): void {
    for (const [key, { following }] of this.#entries)
      if ((following()?.phase ?? 'cold') === 'cold') this.#entries.delete(key);
  }

  /** A number for an object that is part of a key. */
  #numberOf(object: object): number {
    const number = this.#numbers.get(object) ?? ++this.#lastNumber;
    this.#numbers.set(object, number);
    return number;
  }

  #parked(following: Following<unknown>): void {
    this.#followings.delete(following);
    this.#followings.add(following);
    if (this.#closed) return;
    following.forgetAfter(this.#host.forget);
    const parked = [...this.#followings].filter(({ phase }) => phase === 'parked');
    let bytes = parked.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const oldest of parked) {
      if (bytes <= MAX_PARKED_BYTES) return;
      bytes -= oldest.bytes;
      oldest.forget();
    }
  }

  #forgotten(following: Following<unknown>): void {
    this.#followings.delete(following);
    for (const [key, entry] of this.#entries) if (entry.following() === following) this.#entries.delete(key);
  }
}
