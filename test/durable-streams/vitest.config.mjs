import { defineConfig } from 'vitest/config';

export default defineConfig({
  cacheDir: '../../node_modules/.vite',
  // In milliseconds: a machine that is busy with other tests is no reason to fail.
  test: { root: import.meta.dirname, include: ['conformance.ts'], reporters: ['json'], testTimeout: 30_000 },
});
