import type { RowcastError } from '../ground/error.js';

/** What `useSyncExternalStore`, Svelte and a Vue `shallowRef` take. `get` returns the same object until something changed. */
export interface Store<T> {
  get(): T;
  /** What a server renders, and the page while it takes that over; `get` if there is no such method. */
  getInitial?(): T;
  /** Calls `onChange` when `get` returns something new. The returned function ends that. */
  subscribe(onChange: () => void): () => void;
}

/** Data of a channel or an execution, and how current it is. The data is of this key, never of the one before. */
export type Live<T> =
  /** Nothing was asked for: no key, not enabled, or rendered on a server. */
  | { readonly status: 'idle'; readonly data: undefined; readonly error: null }
  /** It is being read for the first time: `read` of `total` events, where the total is known. */
  | {
      readonly status: 'loading';
      readonly data: undefined;
      readonly error: RowcastError | null;
      readonly read: number;
      readonly total: number | null;
    }
  /** All events have arrived, and new ones arrive as they are written. */
  | { readonly status: 'live'; readonly data: T; readonly error: null }
  /** It was live at `asOf`, in milliseconds since 1970: now it is not connected, or has yet to catch up. */
  | { readonly status: 'stale'; readonly data: T; readonly error: RowcastError | null; readonly asOf: number }
  /** It has finished, and was read to its end. */
  | { readonly status: 'ended'; readonly data: T; readonly error: null }
  /** It cannot be read until something is changed: forbidden, for example. */
  | { readonly status: 'failed'; readonly data: T | undefined; readonly error: RowcastError };

export const IDLE: Live<never> = { status: 'idle', data: undefined, error: null };

export const LOADING: Live<never> = { status: 'loading', data: undefined, error: null, read: 0, total: null };

/** The same with other data. */
export function withData<T, U>(live: Live<T>, change: (data: T) => U): Live<U> {
  return live.data === undefined ? (live as Live<never>) : ({ ...live, data: change(live.data) } as Live<U>);
}
