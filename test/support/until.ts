import { setTimeout as sleep } from 'node:timers/promises';

/** Polls until `condition` gives something truthy, and returns that. The alternative to sleeping and hoping. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { deadlineMs = 10_000, what }: { deadlineMs?: number; what: string },
): Promise<NonNullable<T>> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMs} ms in vain for ${what}`);
    await sleep(5);
  }
}
