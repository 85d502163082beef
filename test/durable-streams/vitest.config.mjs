import { defineConfig } from 'vitest/config';

export default defineConfig({
  cacheDir: '../../node_modules/.vite',
  test: {
    root: import.meta.dirname,
    include: ['conformance.ts'],
    reporters: ['json'],
    // Most of them wait for an answer, each on a stream of its own.
    sequence: { concurrent: true },
    // More at once would make each wait for the others on a busy machine, until its time is over.
    maxConcurrency: 2,
    // On a busy machine fetch may send on a kept-alive connection just when the server closes it, and fails.
    retry: 2,
    // In milliseconds: a machine that is busy with other tests is no reason to fail.
    testTimeout: 60_000,
  },
});
