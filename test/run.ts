/**
 * All that `npm test` runs, group after group: one that fails keeps none of the next from running. Ends with a line for
 * each group, and one for all. `npm test -- pure fault` runs these groups alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { z } from 'zod';

const ROOT = join(import.meta.dirname, '..');
const GROUPS = ['check', 'pure', 'database', 'browser', 'fault'] as const;
type Group = (typeof GROUPS)[number];

/** The project of a test file, by its folder; all others are pure. */
const PROJECTS: Readonly<Record<string, Group>> = { integration: 'database', browser: 'browser', fault: 'fault' };

/** The architecture is a test of its own, among the pure ones. */
const CHECKS = [['@biomejs/biome/bin/biome', 'ci'], ['typescript/bin/tsc', '--noEmit'], ['knip/bin/knip.js']];

const JEST = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];

/** Those of a row share the workers. What loads the machine, or measures times, runs after the others. */
const RUNS: readonly (readonly Group[])[] = [['pure', 'database', 'browser'], ['fault']];

interface Count {
  passed: number;
  failed: number;
  skipped: number;
  /** What its test files, or its checks, took together; in milliseconds. */
  took: number;
}

const counts = new Map<Group, Count>();

function count(group: Group, more: Partial<Count>): void {
  const { passed, failed, skipped, took } = counts.get(group) ?? { passed: 0, failed: 0, skipped: 0, took: 0 };
  counts.set(group, {
    passed: passed + (more.passed ?? 0),
    failed: failed + (more.failed ?? 0),
    skipped: skipped + (more.skipped ?? 0),
    took: took + (more.took ?? 0),
  });
}

async function run(...args: readonly string[]): Promise<boolean> {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code === 0;
}

async function check(): Promise<void> {
  for (const [program = '', ...args] of CHECKS) {
    const began = performance.now();
    const passed = await run(join('node_modules', program), ...args);
    count('check', { [passed ? 'passed' : 'failed']: 1, took: performance.now() - began });
  }
}

const report = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      startTime: z.number(),
      endTime: z.number(),
      assertionResults: z.array(z.object({ status: z.string() })),
    }),
  ),
});

async function jest(projects: readonly Group[], outputFile: string): Promise<void> {
  for (const project of projects) count(project, {});
  // More than there are cores: the tests wait for half of their time, for timeouts, processes and the database. Fault
  // tests load the machine by themselves, or measure times.
  const workers = projects.includes('fault') ? 2 : 4;
  const selection = ['--selectProjects', ...projects, `--maxWorkers=${workers}`, '--json', '--outputFile', outputFile];
  const passed = await run(...JEST, ...selection);
  const text = await readFile(outputFile, 'utf8').catch(() => '{"testResults":[]}');
  let failed = 0;
  for (const { name, status, startTime, endTime, assertionResults } of report.parse(JSON.parse(text)).testResults) {
    const all = assertionResults.map((result) => result.status);
    const of = (wanted: string) => all.filter((one) => one === wanted).length;
    // A file that could not be run has no tests that failed.
    const broken = status === 'failed' && of('failed') === 0 ? 1 : 0;
    failed += of('failed') + broken;
    count(PROJECTS[relative(ROOT, name).split('/')[1] ?? ''] ?? 'pure', {
      passed: of('passed'),
      failed: of('failed') + broken,
      skipped: all.length - of('passed') - of('failed'),
      took: Math.max(0, endTime - startTime),
    });
  }
  // Jest ended before its report, or after it: in the setup or the end of the run.
  if (!passed && failed === 0) count(projects[0] ?? 'pure', { failed: 1 });
}

const unknown = process.argv.slice(2).filter((name) => !GROUPS.some((group) => group === name));
if (unknown.length > 0) throw new Error(`no such group: ${unknown.join(', ')}; there are ${GROUPS.join(', ')}`);
const chosen = GROUPS.filter((group) => process.argv.length === 2 || process.argv.includes(group));

const began = performance.now();
const folder = await mkdtemp(join(tmpdir(), 'rowcast-report-'));
if (chosen.includes('check')) await check();
for (const projects of RUNS) {
  const wanted = projects.filter((project) => chosen.includes(project));
  if (wanted.length > 0) await jest(wanted, join(folder, `${wanted[0]}.json`));
}
await rm(folder, { recursive: true });

const sum = { passed: 0, failed: 0 };
for (const [group, { passed, failed, skipped, took }] of counts) {
  sum.passed += passed;
  sum.failed += failed;
  const seconds = `${Math.round(took / 1000)}`.padStart(4);
  console.log(`${group.padEnd(9)}${seconds} s  ${passed} passed, ${failed} failed, ${skipped} skipped`);
}
console.log(`all in ${Math.round((performance.now() - began) / 1000)} s`);
console.log(`${sum.passed} passed, ${sum.failed} failed`);
process.exitCode = sum.failed > 0 || sum.passed === 0 ? 1 : 0;
