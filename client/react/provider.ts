'use client';
import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
  useEffect,
  useState,
} from 'react';
import { createLiveStore, type LiveStore, type LiveStoreOptions } from '../store/index.js';

const StoreContext = createContext<LiveStore | null>(null);

/** A store of the application, or the options of one that the provider makes and closes. */
export type RowcastProviderProps = ({ readonly store: LiveStore } | LiveStoreOptions) & {
  readonly children?: ReactNode;
};

/** Gives the components inside a store. */
export function RowcastProvider(props: RowcastProviderProps): ReactElement {
  const { children, ...source } = props;
  if ('store' in source) return createElement(StoreContext.Provider, { value: source.store }, children);
  // Another gateway is another store. The other options are those of the first render.
  return createElement(OwnStore, { key: source.url, options: source, children });
}

function OwnStore({ options: given, children }: { options: LiveStoreOptions; children?: ReactNode }): ReactElement {
  const [options] = useState(given);
  const [store, setStore] = useState(() => createLiveStore(options));
  useEffect(() => {
    const ending = endings.get(store);
    clearTimeout(ending);
    if (store.closed) setStore(createLiveStore(options));
    // StrictMode, and a page that hides a part of itself, end an effect and begin it again.
    return () => void endings.set(store, setTimeout(store.close));
  }, [store, options]);
  return createElement(StoreContext.Provider, { value: store }, children);
}

const endings = new WeakMap<LiveStore, ReturnType<typeof setTimeout>>();

/** The store of the provider. */
export function useRowcast(): LiveStore {
  const store = useContext(StoreContext);
  if (store === null) throw new Error('no RowcastProvider');
  return store;
}
