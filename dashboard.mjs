/**
 * Builds the page of the gateway from client/dashboard: node dashboard.mjs [folder, dist/dashboard unless given].
 */
import { join } from 'node:path';
import { build } from 'vite';

process.env.NODE_ENV = 'production'; // React has a larger build for all other values
const here = (path) => join(import.meta.dirname, path);

await build({
  configFile: false,
  logLevel: 'warn',
  root: here('client/dashboard'),
  base: './', // the page may be behind a path prefix; the gateway resolves it from where the page is
  build: {
    outDir: process.argv[2] ?? here('dist/dashboard'),
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: 0,
    license: { fileName: 'LICENSES.md' }, // of what is inside
    rolldownOptions: {
      output: { comments: false },
      // 'use client' is for the frameworks that render on a server.
      onwarn: (warning, warn) => warning.code !== 'MODULE_LEVEL_DIRECTIVE' && warn(warning),
    },
  },
});
