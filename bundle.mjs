/**
 * Bundles the client for `<script type="module">`: node bundle.mjs [folder, client/dist/browser unless given].
 */
import { readFile } from 'node:fs/promises';
import { build } from 'esbuild';

/**
 * What only some pages need is loaded by them alone. It shares most of its code with the core; left alone, esbuild would
 * cut the core in as many files as there are ways to share it, and what is compressed apart is larger.
 */
const oneCore = {
  name: 'one-core',
  setup({ onLoad }) {
    onLoad({ filter: /client\/(polling\/service|tabs\/share)\.ts$/ }, async ({ path }) => ({
      contents: `${await readFile(path, 'utf8')}\nexport { createClient } from '../index.js';`,
      loader: 'ts',
    }));
  },
};

await build({
  entryPoints: { rowcast: 'client/index.ts', progress: 'client/progress/index.ts' },
  outdir: process.argv[2] ?? 'client/dist/browser',
  bundle: true,
  splitting: true,
  minify: true,
  sourcemap: 'external', // to look into it; not published, so the bundle names none
  legalComments: 'linked', // the licences of what is inside stand in a file beside it
  format: 'esm',
  target: 'es2022',
  plugins: [oneCore],
  logLevel: 'warning',
});
