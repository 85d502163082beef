import type { Clock } from '../ground/clock.js';
import type { TransportName } from '../transport/rung.js';
import type { Remembered } from './session.js';

/** A network that lets nothing else through may be another one tomorrow. In milliseconds. */
const EXPIRES = 3_600_000;

type Storage = Pick<globalThis.Storage, 'getItem' | 'setItem'>;

/** For as long as this program runs, where the platform stores nothing, or does not want to. */
const memory = new Map<string, string>();

/** Remembers which rung to a gateway worked last: for the next page where the browser stores it, else for the next client. */
export function remembered(url: string, clock: Clock, storage: () => Storage | undefined = ownStorage): Remembered {
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

function ownStorage(): Storage | undefined {
  return globalThis.localStorage;
}

/** Even to look at the storage may be forbidden, and it may be full. */
function attempt<T>(task: () => T): T | undefined {
  try {
    return task();
  } catch {
    return undefined;
  }
}
