/**
 * `npm run bench`: Rowcast beside its peers, in one run on one PostgreSQL. Every scenario, or those that are named:
 * `npm run bench -- B1 B4 --rounds 5 --json results.json`. `--help` lists them.
 *
 * In each round every system takes a turn; figures are medians of the rounds. Everything it started ends with it.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { endAll, endOnSignals, unlessInterrupted } from './harness/ends.js';
import { machine } from './harness/machine.js';
import { type Outcome, runScenario } from './harness/run.js';
import type { Report } from './report/report.js';
import { textOf } from './report/text.js';
import { scenarios } from './scenarios/all.js';

const OPTIONS = {
  help: { type: 'boolean', default: false },
  quick: { type: 'boolean', default: false },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  json: { type: 'string' },
} as const;

const USAGE = `npm run bench [-- <scenario>...] [--rounds <n>] [--seconds <n>] [--json <file>] [--quick]

  --rounds <n>    turns of each system in each shape
  --seconds <n>   how long a turn lasts
  --json <file>   writes the figures of all turns
  --quick         one short round with few connections: shows that everything works, and measures nothing

Settings in the environment hold for the gateways that are measured, as ROWCAST_CACHE_BYTES=0 does.

${scenarios.map(({ name, title }) => `  ${name.padEnd(8)} ${title}`).join('\n')}
`;

function positive(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (Number(value) > 0) return Number(value);
  throw new Error(`${value} is no number above 0`);
}

/** Five digits are more than any spread leaves. */
const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value);

const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
const unknown = positionals.filter((name) => !scenarios.some((scenario) => scenario.name === name));
if (values.help || unknown.length > 0) {
  process.stdout.write(unknown.length > 0 ? `unknown: ${unknown.join(', ')}\n\n${USAGE}` : USAGE);
  process.exit(unknown.length > 0 ? 2 : 0);
}

endOnSignals();
const { quick } = values;
const [rounds, seconds] = [positive(values.rounds), positive(values.seconds)];
const chosen = positionals.length === 0 ? scenarios : scenarios.filter(({ name }) => positionals.includes(name));
const outcomes: Outcome[] = [];
const save = () => {
  if (values.json === undefined) return;
  const report: Report = { machine: machine(), quick, scenarios: outcomes };
  writeFileSync(values.json, `${JSON.stringify(report, rounded, 1)}\n`);
};
try {
  if (availableParallelism() < 2)
    process.stdout.write('one core only: the writers and the clients compete with the servers\n');
  for (const scenario of chosen) {
    try {
      const outcome = await runScenario(scenario, { quick, rounds, seconds });
      outcomes.push(outcome);
      process.stdout.write(textOf(outcome));
      save();
    } catch (error) {
      await unlessInterrupted();
      // The others are measured all the same: a run takes long.
      process.exitCode = 1;
      process.stderr.write(`${scenario.name} failed: ${error instanceof Error ? error.stack : error}\n`);
    }
  }
} finally {
  await endAll();
}
process.exit(); // clients of the peers' libraries may still have timers
