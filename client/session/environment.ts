import type { Clock } from '../ground/clock.js';

/** Between two attempts that do not wait for their turn, in milliseconds: signs and clicks come in bursts. */
export const HURRY_INTERVAL = 1_000;

/** An attempt that has been out for so long is made anew at a sign. In milliseconds. */
export const SLOW = 3_000;

/** What the platform notices about the way to the gateway, before the connection does. */
export interface Environment {
  /**
   * Calls `onSign` whenever the way may be another one than before, and `onRest` when the page is left: if the browser
   * keeps it and shows it again, a sign comes. The returned function ends that.
   */
  watch(onSign: () => void, onRest?: () => void): () => void;
}

type Target = Pick<EventTarget, 'addEventListener' | 'removeEventListener'>;

/** The part of `globalThis` that is looked at. A browser has all of it, a worker no document, Node nothing. */
export interface Scope extends Partial<Target> {
  readonly document?: Target & { readonly visibilityState: string }; // `Document` is unknown where there is no DOM
}

/** A tick that comes this much too late means that the machine slept, or the page was frozen. In milliseconds. */
const TICK = 2_000;
const LATE = 4_000;

/** Of a browser: the network comes or goes, the page is looked at again, thawed, or comes out of the back/forward cache. Everywhere: waking from sleep. */
export function platformEnvironment(clock: Clock, scope: Scope = globalThis): Environment {
  const { document } = scope;
  // The timers of a page that nobody looks at are late as a rule, and it is told when it is looked at again.
  const visible = () => document?.visibilityState !== 'hidden';
  return {
    watch(onSign, onRest) {
      const onEvent = ({ type, persisted }: Event & { persisted?: boolean }) => {
        if (type === 'pagehide') onRest?.();
        else if (type === 'pageshow' ? persisted : visible()) onSign();
      };
      let cancelTick: () => void;
      const tick = () => {
        const due = clock.now() + TICK;
        cancelTick = clock.after(TICK, () => {
          tick();
          if (clock.now() - due >= LATE && visible()) onSign();
        });
      };
      tick();
      const targets = [
        [scope, ['online', 'offline', 'pageshow', 'pagehide']],
        [document, ['visibilitychange', 'resume']],
      ] as const;
      const each = (method: 'addEventListener' | 'removeEventListener') => {
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
