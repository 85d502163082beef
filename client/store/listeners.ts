import { notify } from '../ground/notify.js';
import type { Store } from './live.js';

/** The listeners of a store, and its first and last. */
export class Listeners {
  readonly #listeners = new Set<() => void>();
  readonly #onFirst: () => void;
  readonly #onLast: () => void;

  constructor(onFirst: () => void = () => {}, onLast: () => void = () => {}) {
    this.#onFirst = onFirst;
    this.#onLast = onLast;
  }

  get any(): boolean {
    return this.#listeners.size > 0;
  }

  /** The same function may subscribe twice. */
  readonly subscribe = (onChange: () => void): (() => void) => {
    const listener = () => onChange();
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#onFirst();
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#onLast();
    };
  };

  tell(): void {
    for (const listener of [...this.#listeners]) if (this.#listeners.has(listener)) notify(listener);
  }
}

/** A store whose value is set from outside. */
export class Value<T> implements Store<T> {
  readonly #listeners: Listeners;
  readonly subscribe: Store<T>['subscribe'];
  #value: T;
  readonly #initial: T;

  constructor(value: T, onFirst?: () => void, onLast?: () => void) {
    this.#value = value;
    this.#initial = value;
    this.#listeners = new Listeners(onFirst, onLast);
    this.subscribe = this.#listeners.subscribe;
  }

  get watched(): boolean {
    return this.#listeners.any;
  }

  readonly get = (): T => this.#value;

  readonly getInitial = (): T => this.#initial;

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    this.#listeners.tell();
  }
}
