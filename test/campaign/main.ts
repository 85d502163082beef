/** `npm run test:faults`: breaks everything around real gateways while rows flow, and checks what every client saw. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { runCampaign } from './campaign.js';
import { KINDS } from './clients/plan.js';
import { nemeses } from './nemeses/index.js';
import type { Nemesis } from './nemeses/nemesis.js';
import { report } from './report.js';
import { ONCE_A_ROUND } from './schedule.js';

const FAILED = 1;

interface Options {
  readonly minutes: number;
  readonly gateways: number;
  readonly clients: number;
  readonly eventsPerSecond: number;
  readonly seed: number;
  readonly out?: string;
  readonly nemesis: readonly string[];
  readonly once: boolean;
  readonly list: boolean;
}

const above = (least: number, most: number) => (text: string) => {
  const value = Number(text);
  if (!(value >= least && value <= most)) throw new InvalidArgumentError(`It is a number from ${least} to ${most}.`);
  return value;
};

function knownNemesis(name: string, before: readonly string[]): string[] {
  if (!nemeses.some((nemesis) => nemesis.name === name)) throw new InvalidArgumentError('See --list.');
  return [...before, name];
}

/** Those that are asked for by name come equally often, and so do all when each comes once. */
function chosen(names: readonly string[], once: boolean): readonly Nemesis[] {
  if (names.length === 0 && !once) return nemeses;
  const asked = names.length === 0 ? nemeses : nemeses.filter(({ name }) => names.includes(name));
  return asked.map((nemesis) => ({ ...nemesis, weight: ONCE_A_ROUND }));
}

const program = new Command('test:faults')
  .description('a fault campaign: gateways, writers and clients, and everything that can go wrong between them')
  .option('--minutes <n>', 'how long', above(0.3, 600), 2)
  .option('--gateways <n>', 'gateway processes', above(1, 8), 2)
  .option('--clients <n>', 'clients that record what they see, some of each kind', above(KINDS.length, 2000), 60)
  .option('--events-per-second <n>', 'rows that are written, on the average', above(1, 5000), 350)
  .option('--seed <n>', 'repeats the faults and the rows of another campaign', above(0, 2 ** 31), Date.now() % 2 ** 31)
  .option('--out <folder>', 'where the histories and summary.json go (default: a new one for temporary files)')
  .option('--nemesis <name>', 'only this fault, or these: may be repeated', knownNemesis, [])
  .option('--once', 'each fault once, spread over the time there is', false)
  .option('--list', 'print the faults', false);

async function main(): Promise<void> {
  const options = program.parse().opts<Options>();
  const say = (line: string) => process.stdout.write(`${line}\n`);
  if (options.list) {
    for (const { name, about } of nemeses) say(`${name.padEnd(20)} ${about}`);
    return;
  }
  const out = options.out === undefined ? await mkdtemp(join(tmpdir(), 'rowcast-faults-')) : resolve(options.out);
  await mkdir(out, { recursive: true });
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  process.once('SIGTERM', () => stop.abort());
  say(`seed ${options.seed}, histories in ${out}`);
  const from = performance.now();
  const summary = await runCampaign({
    minutes: options.minutes,
    gateways: options.gateways,
    clients: options.clients,
    rowsPerSecond: options.eventsPerSecond,
    seed: options.seed,
    out,
    nemeses: chosen(options.nemesis, options.once),
    once: options.once,
    log: (line) => say(`${((performance.now() - from) / 1000).toFixed(1).padStart(6)}  ${line}`),
    signal: stop.signal,
  });
  await writeFile(join(out, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  for (const line of report(summary)) say(line);
  if (summary.violations.length > 0) process.exitCode = FAILED;
}

await main();
