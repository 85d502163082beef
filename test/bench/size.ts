/** `npm run bench:size`: what a number of events, readers and connections takes, by the costs in docs/performance.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { packageRoot } from '../../server/ground/package-root.js';
import { costsOf } from './report/costs.js';
import type { Report } from './report/report.js';
import { sizeText } from './report/size-text.js';

const USAGE = `npm run bench:size -- [--events <n>] [--readers <n>] [--bytes <n>] [--connections <n>] [--gateways <n>] [--json <file>]

  --events <n>        rows a second (100)
  --readers <n>       clients that read each row (50)
  --bytes <n>         of a row as JSON (500)
  --connections <n>   open WebSockets, of all gateways together (10000)
  --gateways <n>      gateway processes; default: 1, 10 and 100 side by side
  --json <file>       figures of another run (docs/performance.json)
`;

const number = (by: string) => z.coerce.number().positive().default(Number(by));
const numbers = z.object({
  events: number('100'),
  readers: number('50'),
  bytes: number('500'),
  connections: number('10000'),
});

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    events: text,
    readers: text,
    bytes: text,
    connections: text,
    gateways: text,
    json: { type: 'string', default: join(packageRoot(), 'docs/performance.json') },
    help: { type: 'boolean', default: false },
  },
});
const demand = numbers.safeParse(values);
const gateways = z.coerce.number().int().positive().optional().safeParse(values.gateways);
if (values.help || !demand.success || !gateways.success) {
  process.stdout.write(USAGE);
  process.exit(values.help ? 0 : 2);
}
const report = JSON.parse(readFileSync(values.json, 'utf8')) as Report;
const counts = gateways.data === undefined ? [1, 10, 100] : [gateways.data];
process.stdout.write(sizeText(report, costsOf(report), demand.data, counts));
