import { type Client, type ClientOptions, createClient, type PollingClientOptions } from '../client.js';
import { type Clock, systemClock } from '../ground/clock.js';

/** What the stores need of the page. Tests use one that they drive by hand. */
export interface Platform {
  readonly clock: Clock;
  /** Runs `task` in the next frame, or after a second where there is none: on a hidden page. The returned function cancels that. */
  frame(task: () => void): () => void;
  hidden(): boolean;
  connect(options: ClientOptions | PollingClientOptions): Client;
}

/** How often a hidden page is told, in milliseconds. */
const HIDDEN = 1_000;
const FRAME = 16;

export const page: Platform = {
  clock: systemClock,
  frame(task) {
    const { requestAnimationFrame, cancelAnimationFrame } = globalThis;
    if (requestAnimationFrame === undefined) return systemClock.after(FRAME, task);
    const cancel = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    };
    const run = () => {
      cancel();
      task();
    };
    const frame = requestAnimationFrame(run);
    const timer = setTimeout(run, HIDDEN);
    return cancel;
  },
  hidden: () => globalThis.document?.visibilityState === 'hidden',
  connect: createClient,
};
