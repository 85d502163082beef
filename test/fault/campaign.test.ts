import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { KINDS } from '../campaign/clients/plan.js';
import type { Summary } from '../campaign/summary.js';
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

test('I1 I2 I3 I8 I9: a short campaign: two gateways, clients of every kind, one fault after the other', async () => {
  const out = await mkdtemp(join(tmpdir(), 'rowcast-faults-'));
  folders.push(out);
  const options = [
    '--once',
    '--minutes',
    '0.5',
    '--clients',
    '30',
    '--events-per-second',
    '150',
    '--seed',
    '7',
    '--out',
    out,
  ];
  const campaign = spawn(
    process.execPath,
    [program('test/campaign/main.ts'), ...options, ...FAULTS.flatMap((name) => ['--nemesis', name])],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  for (const stream of [campaign.stdout, campaign.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = await once(campaign, 'close');
  if (code !== 0) throw new Error(`the campaign ended with ${code}:\n${output}`);

  // That it was clean says little if nothing happened.
  const summary = JSON.parse(await readFile(join(out, 'summary.json'), 'utf8')) as Summary;
  expect(summary.violations).toEqual([]);
  expect(summary.rows).toBeGreaterThan(1_000);
  expect(summary.deliveries).toBeGreaterThan(5_000);
  expect(summary.clients).toHaveLength(30);
  expect(new Set(summary.clients.map(({ kind }) => kind))).toEqual(new Set(KINDS));
  const ladders = summary.clients.filter(({ kind }) => kind === 'ladder');
  expect(ladders.filter(({ moves: { down, up } }) => down < 2 || up < 1)).toEqual([]);
  expect(summary.clients.filter(({ events }) => events === 0)).toEqual([]);
  // Each says that it failed, which is a violation, unless it has taken effect. The disk needs a mount.
  const skipped = summary.skipped.map(({ name }) => name);
  expect(skipped.filter((name) => name !== 'disk-full')).toEqual([]);
  expect(summary.faults.map(({ name }) => name).sort()).toEqual(
    FAULTS.filter((name) => !skipped.includes(name)).sort(),
  );
  expect(summary.memory.map(({ gateway }) => gateway)).toEqual(['gateway 0', 'gateway 1']);
}, 180_000);
