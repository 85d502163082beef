/** `rowcast verify`: feeds recorded histories to the judge, which compares them with the table, and prints its verdict. */
import { createReadStream } from 'node:fs';
import { TableReader } from '../postgres/table-reader.js';
import type { Config } from '../settings/config.js';
import { Judge } from '../verify/judge.js';
import { BadHistory } from '../verify/line.js';
import { type Counts, FAULTS, isClean, type Verdict } from '../verify/verdict.js';
import { databaseOf } from './database.js';
import { complain, print, table } from './output.js';

export interface VerifyOptions {
  readonly complete: boolean;
  readonly json: boolean;
}

/** Above this number of clients and channels only those with a fault are printed. */
const PRINTED = 20;

/** The size of a read from a file, in bytes. */
const READ_BYTES = 1024 * 1024;

const COLUMNS = ['events', 'resets', ...FAULTS, 'gone', 'silence'] as const;

/** Returns whether the histories are clean. Rejects with `BadHistory` if a file is not a history. */
export async function verify(
  paths: readonly string[],
  { complete, json }: VerifyOptions,
  config: Config,
): Promise<boolean> {
  const tables = await TableReader.connect(await databaseOf(config));
  try {
    const judge = new Judge(tables);
    for (const path of paths) await feed(path, judge);
    const verdict = await judge.finish({ complete });
    print(...(json ? [JSON.stringify(verdict)] : describe(verdict)));
    return verdict.clean;
  } finally {
    await tables.close();
  }
}

/** Feeds all lines of a file to the judge. Rejects with `BadHistory`. */
export async function feed(path: string, judge: Pick<Judge, 'nextFile' | 'feed' | 'lines'>): Promise<void> {
  judge.nextFile();
  try {
    let rest = '';
    for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: READ_BYTES })) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const reading = judge.feed(line);
        if (reading !== undefined) await reading;
      }
    }
    if (rest !== '' && isJson(rest)) await judge.feed(rest);
    else if (rest !== '') complain(`${path}: the last line is incomplete and is ignored`);
  } catch (error) {
    if (error instanceof BadHistory) throw new BadHistory(`${path}, line ${judge.lines}: ${error.message}`);
    if (isFileError(error)) throw new BadHistory(error.message);
    throw error;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether the error comes from reading the file. System errors of the database connection have no path. */
function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && ('path' in error || error.syscall === 'read');
}

function describe({ clean, total, readers }: Verdict): string[] {
  const shown = readers.length <= PRINTED ? readers : readers.filter((reader) => !isClean(reader));
  const rows = shown.map((reader) => [reader.client, reader.channel, ...numbers(reader)]);
  const faults = shown.flatMap(({ client, channel, faults }) =>
    faults.map(({ kind, line, message }) => {
      return `${client} ${channel}, ${line === null ? 'at the end' : `line ${line}`}: ${message} (${kind})`;
    }),
  );
  const open = readers.filter(({ ended }) => !ended).length;
  const heading = COLUMNS.map((name) => (name === 'silence' ? 'SILENCE MS' : name.toUpperCase()));
  return [
    ...table([['CLIENT', 'CHANNEL', ...heading], ...rows, ['total', '', ...numbers(total)]]),
    '',
    ...faults,
    ...(open === 0 ? [] : [`without an end, and possibly incomplete: ${open} of ${readers.length}`]),
    clean ? 'clean: every event once, in order, and equal to the table' : 'not clean',
  ];
}

function numbers(counts: Counts): string[] {
  return COLUMNS.map((name) => `${counts[name]}`);
}
