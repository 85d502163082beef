import type { Clock } from './clock.js';

/** What the platform notices about the way to the gateway, before the connection does. */
export interface Environment {
  /** Calls `onSign` whenever the way may be another one than before. The returned function ends that. */
  watch(onSign: () => void): () => void;
}

/** The part of `globalThis` that is looked at. A browser has all of it, a worker no document, Node nothing. */
export interface Scope extends Partial<Pick<EventTarget, 'addEventListener' | 'removeEventListener'>> {
  readonly document?: Pick<Document, 'visibilityState' | 'addEventListener' | 'removeEventListener'>;
}

/** A tick that comes this much too late means that the machine slept, or the page was frozen. In milliseconds. */
const TICK = 2_000;
const LATE = 4_000;

/** Of a browser: the network comes or goes, the page is looked at again, or comes out of the back/forward cache. Everywhere: waking from sleep. */
export function platformEnvironment(clock: Clock, scope: Scope = globalThis): Environment {
  const { document } = scope;
  // The timers of a page that nobody looks at are late as a rule, and it is told when it is looked at again.
  const visible = () => document?.visibilityState !== 'hidden';
  return {
    watch(onSign) {
      const onEvent = ({ type, persisted }: Event & { persisted?: boolean }) => {
        if (type === 'pageshow' ? persisted : visible()) onSign();
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
      const types = ['online', 'offline', 'pageshow'];
      for (const type of types) scope.addEventListener?.(type, onEvent);
      document?.addEventListener('visibilitychange', onEvent);
      return () => {
        cancelTick();
        for (const type of types) scope.removeEventListener?.(type, onEvent);
        document?.removeEventListener('visibilitychange', onEvent);
      };
    },
  };
}
