/** Writes the pages that are made from tables in the code, and from the figures of the benchmark: `npm run docs`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type ErrorEntry, errors } from '../client/protocol/index.js';
import { packageRoot } from '../server/ground/package-root.js';
import type { Setting } from '../server/settings/setting.js';
import { defaultOf, settings } from '../server/settings/table.js';
import { performancePages } from '../test/bench/report/page.js';
import type { Report } from '../test/bench/report/report.js';
import { scalingPage } from '../test/bench/report/scaling.js';

const note = (source: string) => `<!-- Generated from ${source} by \`npm run docs\`. Do not edit. -->`;

/** Text as a cell of a table. Outside code, `<` would begin an HTML tag. */
function cell(text: string): string {
  const parts = text.replaceAll('|', '\\|').split('`');
  return parts.map((part, index) => (index % 2 === 0 ? part.replaceAll('<', '&lt;') : part)).join('`');
}

function table(rows: readonly (readonly string[])[]): string {
  const [heading = [], ...body] = rows.map((row) => row.map(cell));
  const line = (row: readonly string[]) => `| ${row.join(' | ')} |`;
  return [line(heading), line(heading.map(() => '---')), ...body.map(line)].join('\n');
}

const code = (text: string) => (text === '' ? '' : `\`${text}\``);

/** What a setting may be, in words. */
function accepted(schema: z.ZodType): string {
  const { type, format, minimum, maximum, minLength = 1, enum: words } = z.toJSONSchema(schema, { io: 'input' });
  if (words !== undefined) return words.map((word) => code(String(word))).join(', ');
  if (type === 'integer') return `${minimum} to ${maximum}`;
  if (format === 'uri') return 'a URL';
  return minLength > 1 ? `at least ${minLength} characters` : 'any text';
}

function settingsPage(): string {
  const rows = Object.values<Setting>(settings).map((setting) => [
    code(setting.env),
    setting.file ? `${setting.about} Or \`${setting.env}_FILE\`, the path of a file that holds it.` : setting.about,
    code(defaultOf(setting)),
    setting.unit,
    accepted(setting.schema),
  ]);
  return `# Settings

${note('`settings` in server/settings/')}

Every setting is an environment variable, read once when a command starts. An empty variable counts as unset.
A variable that begins with \`ROWCAST_\` and is not listed here is an error, so that a typo does not go unnoticed.
Variables that Kubernetes sets for a Service called \`rowcast\`, such as \`ROWCAST_PORT=tcp://10.96.12.7:4400\`, are ignored.
\`rowcast up --help\` prints the same table.

${table([['Variable', 'Meaning', 'Default', 'Unit', 'Accepts'], ...rows])}

[Operations](../operations/README.md) says what to change for production.
`;
}

function errorsPage(): string {
  const rows = Object.entries<ErrorEntry>(errors).map(([name, { meaning, outcome, action, close }]) => [
    code(name),
    meaning,
    outcome,
    close === undefined ? '' : String(close),
    action,
  ]);
  return `# Errors

${note('`errors` in client/protocol/errors.ts')}

Every code that the gateway sends. **retry**: the same request may succeed later without a change. **stop**: it cannot
succeed until something changes. A code with a number ends the connection with that WebSocket close code: 4000 to 4499 mean
retry, 4500 to 4999 mean stop. A client treats an unknown code as retry. [The protocol](../protocol.md#13-errors) says when
each code is sent, [troubleshooting](../operations/troubleshooting.md) what usually causes it, and
[snapshot and live](../guides/snapshot-and-live.md) how to recover from \`position_gone\` and from a reset.

${table([['Code', 'Meaning', 'Outcome', 'Close code', 'What to do'], ...rows])}
`;
}

/** The generated pages: path from the root of the project → text. */
export function generated(): Map<string, string> {
  const measured = JSON.parse(readFileSync(join(packageRoot(), 'docs/performance.json'), 'utf8')) as Report;
  const performance = [...performancePages(measured)].map(([path, text]) => [`docs/${path}`, text] as const);
  return new Map([
    ['docs/reference/settings.md', settingsPage()],
    ['docs/reference/errors.md', errorsPage()],
    ...performance,
    ['docs/operations/scaling.md', scalingPage(measured)],
  ]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of generated()) {
    const file = join(packageRoot(), path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
