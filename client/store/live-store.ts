import type { ClientOptions } from '../client.js';
import type { PollingOptions } from '../polling/settings.js';
import type { Row } from '../protocol/index.js';
import type { Transport } from '../session/open.js';
import type { StreamEvent } from '../subscription/subscription.js';
import type { ChannelOptions } from './channel-options.js';
import type { ConnectionState } from './connection-state.js';
import type { ExecutionStore, Initial } from './execution.js';
import type { ExecutionFilter, ExecutionsStore } from './executions.js';
import type { Fold } from './fold.js';
import type { Latency } from './latency.js';
import type { Live, Store } from './live.js';
import type { LogOptions, LogWindow } from './log.js';
import type { PollingStore } from './polling.js';
import type { Rows } from './rows.js';

export interface LiveStoreOptions extends ClientOptions {
  /** The HTTP API of executions: by default `url` with `/api/agents`. */
  readonly api?: string | undefined;
  /** How many of the newest events a channel keeps: 1,000. */
  readonly keep?: number | undefined;
  /** How long a channel that nothing looks at stays subscribed, in milliseconds: 3,000. */
  readonly leave?: number | undefined;
  /** How long its data and its position stay in memory after that, in milliseconds: 60,000. */
  readonly forget?: number | undefined;
  /** How many bytes of such data are kept, of all channels together: 16 MiB. */
  readonly forgetBytes?: number | undefined;
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

/**
 * What a page shows, kept outside of its components: one store for each key, however many components show it. The first
 * `subscribe` of a store connects, and `leave` after the last one ended it leaves.
 */
export interface LiveStore {
  readonly connection: Store<ConnectionState>;
  readonly polling: PollingStore;
  /** Null while the gateway tells no times, or no event was live yet. */
  readonly latency: Store<Latency | null>;
  readonly closed: boolean;
  /** The newest events of a channel. The same name and options give the same store. */
  channel<R extends object = Row>(name: string, options?: ChannelOptions<R>): Store<Live<Rows<R>>>;
  /** Calls `listener` with each event from now on, at once, and never with an older one. */
  listen<R extends object = Row>(name: string, listener: (event: StreamEvent<R>) => void): () => void;
  /** What a fold computes from a channel. The same name and the same fold object give the same store. */
  fold<S, R extends object = Row>(name: string, fold: Fold<S, R>): Store<Live<S>>;
  /** A whole channel, of which only what is shown is loaded. */
  log<R extends object = Row>(name: string, options?: LogOptions): Store<LogWindow<R>>;
  execution(id: string): ExecutionStore;
  executions(venture: string, filter?: ExecutionFilter): ExecutionsStore;
  /** The time, in milliseconds since 1970, every so many milliseconds. One timer for all; it rests while the page is hidden. */
  clock(every: number): Store<number>;
  /** Limits the connection to some transports, or to none. Everything goes on at its position. */
  only(transports?: readonly Transport[]): void;
  /** Connects anew, also after the connection has failed for good, and tries again what has failed. */
  reconnect(): void;
  /** Ends the connection and all timers. What is shown stays, and is stale. */
  close(): void;
}
