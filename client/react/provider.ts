'use client';
import { createContext, createElement, type ReactElement, type ReactNode, useContext } from 'react';
import type { LiveStore } from '../store/index.js';

const StoreContext = createContext<LiveStore | null>(null);

export interface RowcastProviderProps {
  readonly store: LiveStore;
  readonly children?: ReactNode;
}

/** Gives the components inside a store. */
export function RowcastProvider({ store, children }: RowcastProviderProps): ReactElement {
  return createElement(StoreContext.Provider, { value: store }, children);
}

/** The store of the provider. */
export function useRowcast(): LiveStore {
  const store = useContext(StoreContext);
  if (store === null) throw new Error('there is no RowcastProvider around this component');
  return store;
}
