/** The benchmark in its quick form: scenarios run and give figures, and what it has started ends with it. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { packageRoot } from '../../server/ground/package-root.js';
import type { Report } from '../bench/report/report.js';
import { skips } from '../support/installed.mjs';
import { killAll, runProgram } from '../support/process.js';
import { program } from '../support/programs.js';
import { until } from '../support/until.js';

const folder = mkdtempSync(join(tmpdir(), 'rowcast-bench-test-'));
chmodSync(folder, 0o755); // PostgreSQL does not run as root
program('server/main.ts'); // bundled once, for the benchmark as well

afterAll(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

function bench(...args: readonly string[]) {
  const { ROWCAST_TEST_PROGRAMS = '' } = process.env;
  const main = join(packageRoot(), 'test/bench/main.ts');
  return runProgram(process.execPath, ['--import', 'tsx', main, '--quick', ...args], {
    TMPDIR: folder,
    ROWCAST_TEST_PROGRAMS,
  });
}

/** The processes that work in the folder: PostgreSQL has its data there. */
function running(): string[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
    } catch {
      return false; // it has exited
    }
  });
}

/** The folders that it has made and not removed. */
const left = () => readdirSync(folder).filter((name) => name.startsWith('rowcast-'));

const why = process.platform === 'linux' ? null : 'the benchmark reads /proc';
const onLinux = skips('the benchmark', why) ? test.skip : test;

onLinux('two scenarios run, lose nothing, and leave nothing behind', async () => {
  const json = join(folder, 'figures.json');
  const run = bench('B5', 'B7', '--json', json);
  expect([await run.exited, run.errors()]).toEqual([0, '']);
  const { quick, scenarios } = JSON.parse(readFileSync(json, 'utf8')) as Report;
  expect([quick, scenarios.map(({ name }) => name)]).toEqual([true, ['B5', 'B7']]);
  for (const { turns, shapes, musts } of scenarios) {
    expect(turns.length).toBe(shapes.flatMap(({ systems }) => systems).length);
    expect(turns.filter(({ figures }) => (figures.lost ?? 0) !== 0)).toEqual([]);
    expect(musts.length).toBeGreaterThan(0);
  }
  expect([left(), running()]).toEqual([[], []]);
});

onLinux('Ctrl-C ends it, and everything that it has started', async () => {
  const run = bench('B7');
  await until(() => running().length > 0, { what: 'PostgreSQL' });
  run.child.kill('SIGINT');
  expect(await run.exited).toBe(130);
  expect([left(), running()]).toEqual([[], []]);
});
