/** The programs that tests start as processes of their own, bundled once a run: from its source, each takes four times as long to start. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { packageRoot } from '../../server/ground/package-root.js';
import { isAlive } from '../../server/postgres/supervise.js';

const SOURCES = [
  'server/main.ts',
  'server/index.ts',
  'client/node.ts',
  'test/support/crowd-process.ts',
  'test/support/attacker.ts',
  'test/support/engine-worker-main.ts',
  'test/support/gateway-main.ts',
  'test/campaign/main.ts',
  'test/campaign/clients/main.ts',
] as const;

/** The file to run in place of a source. What this process starts finds the same bundle. */
export function program(source: (typeof SOURCES)[number]): string {
  process.env.ROWCAST_TEST_PROGRAMS ??= bundle();
  return join(process.env.ROWCAST_TEST_PROGRAMS, source.replace(/ts$/, 'js'));
}

/** Below the packages, so that their names lead to them; gone when this process ends, or with the next bundle if it is killed. */
function bundle(): string {
  const root = packageRoot();
  const cache = join(root, 'node_modules/.cache/rowcast-test');
  mkdirSync(cache, { recursive: true });
  for (const pid of readdirSync(cache)) if (!isAlive(Number(pid))) rmSync(join(cache, pid), { recursive: true });
  const outdir = join(cache, `${process.pid}`);
  buildSync({
    absWorkingDir: root,
    entryPoints: [...SOURCES],
    outdir,
    outbase: root,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
  });
  process.once('exit', () => rmSync(outdir, { recursive: true, force: true }));
  return outdir;
}
