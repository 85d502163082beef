'use client';
/** From a store to a component: `useSyncExternalStore` with a selection that may be written inline. */
import { useState, useSyncExternalStore } from 'react';
import { IDLE, type Live, type Store, withData } from '../store/index.js';
import { isShallowEqual } from '../store/shared.js';

const NOTHING: Store<Live<never>> = { get: () => IDLE, subscribe: () => () => {} };

/** The value of a store, or what is selected of it; null gives `idle`. */
export function useLive<T, U = T>(store: Store<Live<T>> | null, select?: (data: T) => U): Live<U> {
  const source = store ?? NOTHING;
  const [selection] = useState(() => new Selection<T, U>());
  // Without a selection U is T.
  const of = (live: Live<T>) => (select === undefined ? (live as Live<never>) : selection.of(live, select));
  return useSyncExternalStore(
    source.subscribe,
    () => of(source.get()),
    () => of((source.getInitial ?? source.get)()),
  );
}

/** The value of a store that always has one. */
export function useValue<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get, store.getInitial ?? store.get);
}

/** Keeps what was selected last, so that a selection with equal content renders nothing, and an inline one does not loop. */
class Selection<T, U> {
  #from: Live<T> = IDLE;
  #by: ((data: T) => U) | null = null;
  #selected: Live<U> = IDLE;

  of(live: Live<T>, select: (data: T) => U): Live<U> {
    if (live === this.#from && select === this.#by) return this.#selected;
    this.#from = live;
    this.#by = select;
    const next = withData(live, select);
    if (!isSame(next, this.#selected)) this.#selected = next;
    return this.#selected;
  }
}

function isSame(one: Live<unknown>, other: Live<unknown>): boolean {
  const { data, ...rest } = one;
  const { data: known, ...others } = other;
  return isShallowEqual(rest, others) && isShallowEqual(data, known);
}
