/**
 * Network hints: signs of the platform that the way to the gateway may have changed, before the connection notices. In a
 * browser the network comes or goes, and the page becomes visible, is resumed, or returns from the back/forward cache.
 * Everywhere the machine wakes from sleep.
 */
import type { Clock } from '../ground/clock.js';

/** The least time between two attempts that do not wait for their turn, in milliseconds: hints and clicks come in bursts. */
export const HINT_INTERVAL = 1_000;

/** An attempt that has taken this long is made anew after a hint. In milliseconds. */
export const SLOW_ATTEMPT = 3_000;

export interface Environment {
  /**
   * Calls `onHint` when the network may have changed, and `onSuspend` when the page is left. If the browser keeps the
   * page and shows it again, `onHint` follows. The returned function ends that.
   */
  watch(onHint: () => void, onSuspend?: () => void): () => void;
}

interface Events {
  addEventListener(type: string, listener: (event: PageEvent) => void): void;
  removeEventListener(type: string, listener: (event: PageEvent) => void): void;
}

interface PageEvent {
  readonly type: string;
  readonly persisted?: boolean;
}

/** The part of `globalThis` that is read. A browser has all of it, a worker has no document, Node.js has nothing. */
export interface Scope extends Partial<Events> {
  readonly document?: Events & { readonly visibilityState: string };
}

/** A tick that is this much late shows that the machine slept, or that the page was frozen. In milliseconds. */
const TICK = 2_000;
const LATE = 4_000;

export function platformEnvironment(clock: Clock, scope: Scope = globalThis as Scope): Environment {
  const { document } = scope;
  // The timers of a hidden page are late as a rule, and `visibilitychange` follows when it becomes visible.
  const visible = () => document?.visibilityState !== 'hidden';
  return {
    watch(onHint, onSuspend) {
      const onEvent = ({ type, persisted }: PageEvent) => {
        if (type === 'pagehide') onSuspend?.();
        else if (type === 'pageshow' ? persisted : visible()) onHint();
      };
      let cancelTick: () => void;
      const tick = () => {
        const due = clock.now() + TICK;
        cancelTick = clock.after(TICK, () => {
          tick();
          if (clock.now() - due >= LATE && visible()) onHint();
        });
      };
      tick();
      const targets = [
        [scope, ['online', 'offline', 'pageshow', 'pagehide']],
        [document, ['visibilitychange', 'resume']],
      ] as const;
      const each = (method: keyof Events) => {
        for (const [target, types] of targets) for (const type of types) target?.[method]?.(type, onEvent);
      };
      each('addEventListener');
      return () => {
        cancelTick();
        each('removeEventListener');
      };
    },
  };
}
