import { notify } from '../ground/notify.js';
import type { Since } from '../protocol/index.js';
import type { StreamEvent } from '../subscription/subscription.js';
import type { Following } from './following.js';
import type { Reader } from './reader.js';

type Listener = (event: StreamEvent) => void;

/** Passes events on as they come, and keeps none. */
export class ListenReader implements Reader<null> {
  readonly #since: Since;
  readonly #listeners = new Set<Listener>();

  constructor(since: Since) {
    this.#since = since;
  }

  add(following: Following<null>, listener: Listener): () => void {
    const own: Listener = (event) => listener(event);
    this.#listeners.add(own);
    const unsubscribe = following.subscribe(() => {});
    return () => {
      this.#listeners.delete(own);
      unsubscribe();
    };
  }

  begin(): Since {
    return this.#since;
  }

  event(event: StreamEvent): void {
    for (const listener of [...this.#listeners]) if (this.#listeners.has(listener)) notify(listener, event);
  }

  reset(): boolean {
    return false;
  }

  value(): null {
    return null;
  }
}
