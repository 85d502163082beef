import type { Platform } from './platform.js';

/** What has something to tell. */
export interface Flushed {
  flush(): void;
}

/**
 * Tells readers of what is new: the first at once, after the events that arrived together, and what follows with the next
 * frame. So a burst is told as often as there are frames, and never starved.
 *
 *            request               microtask              frame, with news
 *    idle ───────────► told soon ────────────► framed ◄──────────────────┐
 *     ▲                                         │  └──────────────────────┘
 *     └─────────────────────────────────────────┘ frame, without news
 */
export class Flusher {
  readonly #after: (task: () => void) => () => void;
  readonly #waiting = new Set<Flushed>();
  #cancelFrame: (() => void) | null = null;
  #soon = false;

  constructor({ clock, frame }: Platform, every: 'frame' | number) {
    this.#after = every === 'frame' ? frame : (task) => clock.after(every, task);
  }

  request(flushed: Flushed): void {
    this.#waiting.add(flushed);
    if (this.#soon || this.#cancelFrame !== null) return;
    this.#soon = true;
    queueMicrotask(() => {
      this.#soon = false;
      this.#run();
    });
  }

  stop(): void {
    this.#cancelFrame?.();
    this.#cancelFrame = null;
    this.#waiting.clear();
  }

  readonly #run = (): void => {
    this.#cancelFrame = null;
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    this.#cancelFrame = this.#after(this.#run);
    for (const flushed of waiting) flushed.flush();
  };
}
