import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { KINDS } from '../campaign/clients/plan.js';
import type { Summary } from '../campaign/summary.js';
import { skips } from '../support/installed.mjs';
import { packagedNodes } from '../support/node-packages.mjs';
import { program } from '../support/programs.js';

/** Each comes once. The long campaign has all there are, again and again: docs/campaign.md. */
const FAULTS = [
  'gateway-kill',
  'ringer-kill-silent',
  'commit-asleep',
  'ringer-pause',
  'postgres-immediate',
  'backend-terminated',
  'half-open-client',
  'cut-database',
  'doors-refused',
  'disk-full',
  'prune',
  'truncate',
  'deadlocks',
];

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

/** Runs a campaign, and its gateways and clients, on a Node.js. Rejects with all that it has printed unless it is clean. */
async function campaign(node: string, faults: readonly string[], options: readonly string[]): Promise<Summary> {
  const out = await mkdtemp(join(tmpdir(), 'rowcast-faults-'));
  folders.push(out);
  const nemeses = faults.flatMap((name) => ['--nemesis', name]);
  const args = [program('test/campaign/main.ts'), '--once', ...options, '--seed', '7', '--out', out, ...nemeses];
  const running = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [running.stdout, running.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = await once(running, 'close');
  if (code !== 0) throw new Error(`the campaign ended with ${code}:\n${output}`);
  const summary = JSON.parse(await readFile(join(out, 'summary.json'), 'utf8')) as Summary;
  expect(summary.violations).toEqual([]);
  // That it was clean says little if nothing happened.
  expect(new Set(summary.clients.map(({ kind }) => kind))).toEqual(new Set(KINDS));
  expect(summary.clients.filter(({ events }) => events === 0)).toEqual([]);
  return summary;
}

test('I1 I2 I3 I8 I9: a short campaign: two gateways, clients of every kind, one fault after the other', async () => {
  const options = ['--minutes', '0.5', '--clients', '30', '--events-per-second', '150'];
  const summary = await campaign(process.execPath, FAULTS, options);
  expect(summary.rows).toBeGreaterThan(1_000);
  expect(summary.deliveries).toBeGreaterThan(5_000);
  expect(summary.clients).toHaveLength(30);
  const ladders = summary.clients.filter(({ kind }) => kind === 'ladder');
  expect(ladders.filter(({ moves: { down, up } }) => down < 2 || up < 1)).toEqual([]);
  // Each says that it failed, which is a violation, unless it has taken effect. The disk needs a mount.
  const skipped = summary.skipped.map(({ name }) => name);
  expect(skipped.filter((name) => name !== 'disk-full')).toEqual([]);
  expect(summary.faults.map(({ name }) => name).sort()).toEqual(
    FAULTS.filter((name) => !skipped.includes(name)).sort(),
  );
  expect(summary.memory.map(({ gateway }) => gateway)).toEqual(['gateway 0', 'gateway 1']);
}, 180_000);

for (const { version, program: node } of packagedNodes()) {
  const what = `I1 I2 I3 I9: a campaign of seconds on Node.js ${version}`;
  const run = skips(what, node === null ? 'not installed (npm run pretest)' : null) ? test.skip : test;
  run(
    what,
    async () => {
      const options = ['--minutes', '0.3', '--clients', `${KINDS.length}`, '--events-per-second', '60'];
      const summary = await campaign(node ?? '', ['gateway-kill', 'postgres-immediate'], options);
      expect(summary.faults.map(({ name }) => name).sort()).toEqual(['gateway-kill', 'postgres-immediate']);
      expect(summary.rows).toBeGreaterThan(300);
    },
    120_000,
  );
}
