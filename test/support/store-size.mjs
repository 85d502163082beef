/**
 * Prints what `@rowcast/client/store` and `/react` add to the client and the progress, in bytes, gzipped, as JSON:
 * node test/support/store-size.mjs [a folder for the entries]. What is loaded by those who ask for it is counted apart.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const [, , folder] = process.argv;
const LATE = /(^react$|\/(log|replay|executions|latency|service|share|lossless)\.js$)/;

/** The size of these modules in one file, with all that they load at once. */
async function sizeOf(name, modules) {
  const entry = join(folder, `${name}.js`);
  writeFileSync(entry, modules.map((module) => `export * from '${join(process.cwd(), 'client', module)}';`).join('\n'));
  const { output } = await build({
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      target: 'es2022',
      lib: { entry, formats: ['es'] },
      rolldownOptions: {
        external: (id) => LATE.test(id),
        output: { minify: true, comments: false, codeSplitting: false },
      },
    },
  }).then((result) => (Array.isArray(result) ? result[0] : result));
  return gzipSync(output[0].code, { level: 9 }).length;
}

const client = await sizeOf('client', ['index.ts', 'progress/index.ts']);
const all = await sizeOf('all', ['index.ts', 'progress/index.ts', 'store/index.ts', 'react/index.ts']);
const late = ['store/log.ts', 'store/replay.ts', 'store/executions.ts', 'store/latency.ts'];
const whole = await sizeOf('whole', ['index.ts', 'progress/index.ts', 'store/index.ts', 'react/index.ts', ...late]);
console.log(JSON.stringify({ client, added: all - client, late: whole - all }));
