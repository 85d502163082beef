import { defineConfig } from 'vitest/config';

export default defineConfig({
  cacheDir: '../../node_modules/.vite',
  test: {
    root: import.meta.dirname,
    include: ['conformance.ts'],
    reporters: ['json'],
    // Most of them wait for an answer, each on a stream of its own.
    sequence: { concurrent: true },
    // In milliseconds: a machine that is busy with other tests is no reason to fail.
    testTimeout: 30_000,
  },
});
