/**
 * Bundles the client for `<script type="module">`: node bundle.mjs [folder, client/dist/browser unless given].
 */
import { relative } from 'node:path';
import { build } from 'vite';

/** What is loaded by those who ask for it only. */
const LATE =
  /^client\/(progress|tabs|store|follow|ground\/lossless|polling\/(?!settings))|^node_modules\/lossless-json\//;

await build({
  configFile: false,
  logLevel: 'warn',
  build: {
    outDir: process.argv[2] ?? 'client/dist/browser',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: 'hidden', // to look into it; not published, so the bundle names none
    license: { fileName: 'LICENSES.md' }, // of what is inside
    lib: {
      entry: {
        rowcast: 'client/index.ts',
        progress: 'client/progress/index.ts',
        store: 'client/store/index.ts',
        follow: 'client/follow/index.ts',
      },
      formats: ['es'],
    },
    rolldownOptions: {
      output: {
        minify: true,
        comments: false,
        entryFileNames: '[name].js',
        chunkFileNames: '[name]-[hash].js',
        // What is loaded at once is one file: files that are compressed apart are larger.
        codeSplitting: {
          groups: [{ name: 'core', test: (path) => !LATE.test(relative(import.meta.dirname, path)) }],
        },
      },
    },
  },
});
