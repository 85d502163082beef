/** Live collections: the rows of a channel as they are now, and each change of them. */
import type { Client } from '../client.js';
import { RowcastError } from '../ground/error.js';
import { checkNames } from '../ground/options.js';
import { parsePosition } from '../protocol/index.js';
import { Api } from '../store/api.js';
import { Flusher } from '../store/flush.js';
import { Listeners } from '../store/listeners.js';
import { type Live, type Store, withData } from '../store/live.js';
import { page } from '../store/platform.js';
import type { AnyChannel, AnyStreams, StreamTypes } from '../subscription/streams.js';
import type { StreamEvent } from '../subscription/subscription.js';
import { Follower, type Snapshot } from './follower.js';
import { type Change, RowMap } from './rows.js';

export type { Snapshot } from './follower.js';
export type { Change } from './rows.js';

/** What has changed since the call before. After a new snapshot it is the difference. */
export interface RowChanges<R extends object> {
  readonly rows: ReadonlyMap<string, R>;
  /** The identities of rows that are new or have changed, and of those that are gone. */
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

export interface FollowOptions<R extends object> {
  /** Called with the changes of a frame of the screen; where there is none, of a few milliseconds. */
  readonly onChange?: ((changes: RowChanges<R>) => void) | undefined;
  /** Orders the rows; by default by their identity. */
  readonly compare?: ((a: R, b: R) => number) | undefined;
}

export interface FollowStateOptions<S, R extends object> {
  /** Loads a snapshot of one's own, with the position that belongs to it. */
  readonly load: () => Promise<Snapshot<S>>;
  /** Returns the state after an event. */
  readonly apply: (state: S, event: StreamEvent<R>) => S;
  readonly onChange?: ((state: S) => void) | undefined;
}

/** `get` returns a new object when anything has changed; `rows` is the same map until rows had to be moved. */
export interface Collection<R extends object> extends Store<Live<ReadonlyMap<string, R>>> {
  readonly rows: ReadonlyMap<string, R>;
  readonly status: Live<R>['status'];
  close(): void;
}

export interface StateStore<S> extends Store<Live<S>> {
  close(): void;
}

/** The row of an event: of a tracked table that of the table. */
export type RowOf<E extends object> = E extends Change<infer R> ? R : E;

/** The names of the streams of tracked tables. */
export type TrackedStream<S extends StreamTypes<S>> = {
  [N in keyof S & string]: S[N] extends Change<object> ? N : never;
}[keyof S & string];

/** What is used of a client: snapshots are requested with its options. */
export type FollowClient<S extends StreamTypes<S> = AnyStreams> = Pick<
  Client<S>,
  'subscribe' | '~streams' | '~options'
>;

const OPTIONS = ['onChange', 'compare'] satisfies (keyof FollowOptions<object>)[];
const STATE_OPTIONS = ['load', 'apply', 'onChange'] satisfies (keyof FollowStateOptions<unknown, object>)[];

interface RowsPage {
  readonly position: string;
  readonly next: string | null;
  readonly ids: readonly string[];
  readonly rows: readonly object[];
}

/** Follows the rows of a channel of a tracked table. With a client that knows its streams, the rows have their types. */
export function follow<R extends object, S extends StreamTypes<S> = AnyStreams>(
  client: FollowClient<S>,
  channel: AnyChannel<S>,
  options?: FollowOptions<R>,
): Collection<R>;
export function follow<S extends StreamTypes<S>, N extends TrackedStream<S>>(
  client: FollowClient<S>,
  channel: `${N}:${string}`,
  options?: FollowOptions<RowOf<S[N]>>,
): Collection<RowOf<S[N]>>;
export function follow<R extends object>(
  client: FollowClient,
  channel: string,
  options: FollowOptions<R> = {},
): Collection<R> {
  checkNames('follow', options, OPTIONS);
  const { onChange, compare } = options;
  if (client['~options'] === undefined) throw new TypeError('follow: not a client of createClient');
  const api = new Api(client['~options']);
  let told = new RowMap<R>(compare);
  const store = stateStore<RowMap<R>, Change<R>>(client, channel, {
    load: () => snapshotOf(api, channel, new RowMap<R>(compare)),
    apply(rows, event) {
      rows.apply(event);
      return rows;
    },
    onChange(rows) {
      if (rows !== told) rows.since(told);
      told = rows;
      const { changed, removed } = rows.take();
      if (changed.length + removed.length > 0) onChange?.({ rows: rows.rows, changed, removed });
    },
  });
  let seen: Live<RowMap<R>> | undefined;
  let view: Live<ReadonlyMap<string, R>> | undefined;
  return {
    get() {
      const live = store.get();
      if (live !== seen || view === undefined) {
        seen = live;
        view = withData(live, (rows) => rows.rows);
      }
      return view;
    },
    get rows() {
      return this.get().data ?? new Map<string, R>();
    },
    get status() {
      return store.get().status;
    },
    subscribe: (listener) => store.subscribe(listener),
    close: () => store.close(),
  };
}

/** Follows a channel with a state of one's own, `T`. */
export function followState<T, R extends object, S extends StreamTypes<S> = AnyStreams>(
  client: FollowClient<S>,
  channel: AnyChannel<S>,
  options: FollowStateOptions<T, R>,
): StateStore<T>;
export function followState<T, S extends StreamTypes<S>, N extends keyof S & string>(
  client: FollowClient<S>,
  channel: `${N}:${string}`,
  options: FollowStateOptions<T, S[N]>,
): StateStore<T>;
export function followState<S, R extends object>(
  client: FollowClient,
  channel: string,
  options: FollowStateOptions<S, R>,
): StateStore<S> {
  checkNames('followState', options, STATE_OPTIONS);
  return stateStore(client, channel, options);
}

function stateStore<S, R extends object>(
  client: FollowClient,
  channel: string,
  { load, apply, onChange }: FollowStateOptions<S, R>,
): StateStore<S> {
  const listeners = new Listeners();
  const flusher = new Flusher(page, 'frame');
  let shown: Live<S>;
  const flushed = {
    flush() {
      shown = follower.live;
      if (shown.data !== undefined) onChange?.(shown.data);
      listeners.tell();
    },
  };
  const follower = new Follower<S, R>({ client, channel, load, apply, onChange: () => flusher.request(flushed) });
  shown = follower.live;
  return {
    get: () => shown,
    subscribe: listeners.subscribe,
    close() {
      follower.close();
      flusher.stop();
    },
  };
}

/** All pages of a snapshot. Its events continue at the position of the first page; by that of the last one it is whole. */
async function snapshotOf<R extends object>(api: Api, channel: string, rows: RowMap<R>): Promise<Snapshot<RowMap<R>>> {
  const [stream = '', ...key] = channel.split(':');
  let position: string | undefined;
  let after: string | null = null;
  for (;;) {
    const read = (await api.rows(stream, key.join(':'), after)) as RowsPage;
    position ??= read.position;
    if (parsePosition(read.position)?.epoch !== parsePosition(position)?.epoch) {
      throw new RowcastError('unavailable', 'the numbering was lost while the rows were read', true);
    }
    read.ids.forEach((id, index) => {
      rows.set(id, read.rows[index] as R);
    });
    if (read.next === null) return { state: rows, position, until: read.position };
    after = read.next;
  }
}
