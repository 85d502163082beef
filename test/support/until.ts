import { setTimeout as sleep } from 'node:timers/promises';
import { load } from './load.mjs';

/**
 * Polls until `condition` gives something truthy, and returns that. The alternative to sleeping and hoping. Time in which
 * the machine has other work counts for less: `deadlineMs` is what an idle one may take.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { deadlineMs = 10_000, what }: { deadlineMs?: number; what: string },
): Promise<NonNullable<T>> {
  const began = performance.now();
  let counted = 0;
  for (let before = began; ; ) {
    const result = await condition();
    if (result) return result;
    if (counted > deadlineMs) {
      const waited = Math.round(performance.now() - began);
      throw new Error(`waited in vain for ${what}: ${waited} ms, of which ${deadlineMs} count on this machine`);
    }
    await sleep(5);
    const now = performance.now();
    counted += (now - before) / load();
    before = now;
  }
}
