'use client';
/** Live rows in components. However many of them show a channel, it is followed once for each client. */
import { useMemo } from 'react';
import { type Collection, type FollowClient, follow, type RowOf, type TrackedStream } from '../../follow/index.js';
import { IDLE, type Live, LOADING, type Store } from '../../store/live.js';
import type { AnyChannel, AnyStreams, StreamTypes } from '../../subscription/streams.js';
import { useLive } from '../read.js';

/** The rows of a channel by their identity. */
export type LiveRows<R extends object> = ReadonlyMap<string, R>;

/** How long a channel that no component shows is still followed, in milliseconds. */
const LEAVE = 3_000;

/**
 * The rows of a channel of a tracked table, or what `select` makes of them; null: of none. A result with equal entries
 * renders nothing.
 */
export function useRows<R extends object, S extends StreamTypes<S> = AnyStreams, T = LiveRows<R>>(
  client: FollowClient<S>,
  channel: AnyChannel<S> | null,
  select?: (rows: LiveRows<R>) => T,
): Live<T>;
export function useRows<S extends StreamTypes<S>, N extends TrackedStream<S>, T = LiveRows<RowOf<S[N]>>>(
  client: FollowClient<S>,
  channel: `${N}:${string}` | null,
  select?: (rows: LiveRows<RowOf<S[N]>>) => T,
): Live<T>;
export function useRows<R extends object, T>(
  client: FollowClient,
  channel: string | null,
  select?: (rows: LiveRows<R>) => T,
): Live<T> {
  const rows = useMemo(() => (channel === null ? null : rowsOf<R>(client, channel)), [client, channel]);
  return useLive(rows, select);
}

/** One row by its identity; `data` is null where the channel has none. Other rows render nothing. */
export function useRow<R extends object, S extends StreamTypes<S> = AnyStreams>(
  client: FollowClient<S>,
  channel: AnyChannel<S> | null,
  id: string,
): Live<R | null>;
export function useRow<S extends StreamTypes<S>, N extends TrackedStream<S>>(
  client: FollowClient<S>,
  channel: `${N}:${string}` | null,
  id: string,
): Live<RowOf<S[N]> | null>;
export function useRow<R extends object>(client: FollowClient, channel: string | null, id: string): Live<R | null> {
  const rows = useMemo(() => (channel === null ? null : rowsOf<R>(client, channel)), [client, channel]);
  return useLive(rows, (all) => all.get(id) ?? null);
}

type Channels = Map<string, SharedRows<object>>;

const known = new WeakMap<FollowClient, Channels>();

function rowsOf<R extends object>(client: FollowClient, channel: string): Store<Live<LiveRows<R>>> {
  const channels: Channels = known.get(client) ?? new Map();
  known.set(client, channels);
  const rows = channels.get(channel) ?? new SharedRows(client, channel, channels);
  channels.set(channel, rows);
  return rows as Store<Live<LiveRows<object>>> as Store<Live<LiveRows<R>>>;
}

/** Follows while it has a listener, and for a while after that. It is then known no longer, until it has one again. */
class SharedRows<R extends object> implements Store<Live<LiveRows<R>>> {
  readonly #client: FollowClient;
  readonly #channel: string;
  readonly #known: Map<string, SharedRows<R>>;
  #collection: Collection<R> | null = null;
  #listeners = 0;
  #leaving: ReturnType<typeof setTimeout> | undefined;

  constructor(client: FollowClient, channel: string, known: Map<string, SharedRows<R>>) {
    this.#client = client;
    this.#channel = channel;
    this.#known = known;
  }

  readonly get = (): Live<LiveRows<R>> => this.#collection?.get() ?? LOADING;

  readonly getInitial = (): Live<LiveRows<R>> => IDLE;

  readonly subscribe = (onChange: () => void): (() => void) => {
    clearTimeout(this.#leaving);
    this.#known.set(this.#channel, this);
    this.#collection ??= follow<R>(this.#client, this.#channel);
    this.#listeners += 1;
    const end = this.#collection.subscribe(onChange);
    return () => {
      end();
      this.#listeners -= 1;
      if (this.#listeners === 0) this.#leaving = setTimeout(this.#close, LEAVE);
    };
  };

  readonly #close = (): void => {
    this.#collection?.close();
    this.#collection = null;
    if (this.#known.get(this.#channel) === this) this.#known.delete(this.#channel);
  };
}
