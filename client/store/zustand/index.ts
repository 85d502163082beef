import { createStore, type StoreApi } from 'zustand/vanilla';
import type { ExecutionFilter, ExecutionList, Live, LiveStore } from '../index.js';

/**
 * The executions of a venture as a Zustand store, for an application that keeps its state there. It follows them while it has
 * subscribers; `getState().show()` and `getState().more()` are those of `useExecutions`.
 */
export interface ExecutionsState {
  readonly executions: Live<ExecutionList>;
  show(): void;
  more(): Promise<void>;
}

export function executionsStore(
  store: LiveStore,
  venture: string,
  filter?: ExecutionFilter,
): StoreApi<ExecutionsState> {
  const source = () => store.executions(venture, filter); // what nothing looked at for a while was forgotten
  const api = createStore<ExecutionsState>(() => ({
    executions: source().get(),
    show: () => source().show(),
    more: () => source().loadMore(),
  }));
  let subscribers = 0;
  let unfollow: () => void = () => {};
  const follow = () => {
    const executions = source();
    const take = () => api.setState({ executions: executions.get() });
    unfollow = executions.subscribe(take);
    take();
  };
  return {
    ...api,
    subscribe(listener) {
      const unsubscribe = api.subscribe(listener);
      subscribers += 1;
      if (subscribers === 1) follow();
      let subscribed = true;
      return () => {
        unsubscribe();
        if (!subscribed) return;
        subscribed = false;
        subscribers -= 1;
        if (subscribers === 0) unfollow();
      };
    },
  };
}
