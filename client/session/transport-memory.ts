import type { Clock } from '../ground/clock.js';
import type { TransportName } from '../transport/rung.js';
import type { TransportMemory } from './session.js';

/** How long a transport is remembered, in milliseconds. The next network may let a better one through. */
const EXPIRES = 3_600_000;

interface Storage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Used where the platform has no storage or refuses it; lasts as long as the program runs. */
const memory = new Map<string, string>();

/**
 * Remembers which transport to a gateway worked last: for the next page in `localStorage`, where there is one, else for
 * the next client of this program.
 */
export function transportMemory(
  url: string,
  clock: Clock,
  storage: () => Storage | undefined = localStorage,
): TransportMemory {
  const key = `rowcast:transport:${url}`;
  return {
    read() {
      const [name = null, time] = (attempt(() => storage()?.getItem(key)) ?? memory.get(key) ?? '').split(' ');
      return clock.now() - Number(time) < EXPIRES ? name : null;
    },
    write(name: TransportName) {
      const text = `${name} ${clock.now()}`;
      memory.set(key, text);
      attempt(() => storage()?.setItem(key, text));
    },
  };
}

function localStorage(): Storage | undefined {
  return globalThis.localStorage;
}

/** Storage may be full, and even reading the property may be forbidden. */
function attempt<T>(task: () => T): T | undefined {
  try {
    return task();
  } catch {
    return undefined;
  }
}
