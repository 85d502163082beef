import { Listeners } from './listeners.js';
import type { Store } from './live.js';

/** How long after a failure the code is asked for again, in milliseconds. */
const RETRY = 2_000;

/** A store whose code is loaded when something looks at it, so that pages that do not use it do not load it. */
export class Late<T, S extends Store<T>> implements Store<T> {
  readonly #load: () => Promise<S>;
  readonly #before: () => T;
  readonly #listeners = new Listeners(
    () => this.#attach(),
    () => this.#unfollow(),
  );
  readonly subscribe = this.#listeners.subscribe;
  #loading: Promise<S> | null = null;
  #loaded: S | null = null;
  #unfollow: () => void = () => {};

  /** `before`: the value until it is loaded; the same object as long as nothing changed. */
  constructor(load: () => Promise<S>, before: () => T) {
    this.#load = load;
    this.#before = before;
  }

  get loaded(): S | null {
    return this.#loaded;
  }

  readonly getInitial = (): T => this.#before();

  readonly get = (): T => (this.#loaded === null ? this.#before() : this.#loaded.get());

  /** The store itself. Rejects if its code cannot be loaded. */
  readonly use = (): Promise<S> => {
    this.#loading ??= this.#load().then(
      (store) => {
        this.#loaded = store;
        if (this.#listeners.any) this.#attach();
        return store;
      },
      (reason) => {
        this.#loading = null;
        throw reason;
      },
    );
    return this.#loading;
  };

  #attach(): void {
    if (this.#loaded !== null) {
      this.#unfollow = this.#loaded.subscribe(() => this.#listeners.tell());
      this.#listeners.tell();
      return;
    }
    this.use().catch(() => {
      const timer = setTimeout(() => this.#listeners.any && this.#attach(), RETRY);
      this.#unfollow = () => clearTimeout(timer);
    });
  }
}
