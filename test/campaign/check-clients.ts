import { createReadStream } from 'node:fs';
import { TableLog } from '../../server/postgres/table-log.js';
import { digestOf } from '../../server/verify/digest.js';
import { Judge } from '../../server/verify/judge.js';
import type { ReaderVerdict, Verdict } from '../../server/verify/verdict.js';
import type { Database } from './database.js';

const READ_BYTES = 1024 * 1024;

async function eachLine(path: string, work: (line: string) => Promise<void> | undefined): Promise<number> {
  let rest = '';
  let count = 0;
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: READ_BYTES })) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      count += 1;
      const waits = work(line);
      if (waits !== undefined) await waits;
    }
  }
  return count;
}

/** Compares every history with the tables; in each file is one client. Lines are those of its file. */
export async function judgeHistories(database: Database, histories: readonly string[]): Promise<Verdict> {
  const log = await TableLog.connect(database.url);
  try {
    // One judge for all: many have seen the same rows, which it reads once.
    const judge = new Judge(log);
    const before = new Map<string, number>();
    for (const path of histories) {
      const offset = judge.lines;
      await eachLine(path, (line) => {
        if (judge.lines === offset) before.set((JSON.parse(line) as { client: string }).client, offset);
        return judge.feed(line);
      });
    }
    const verdict = await judge.finish({ complete: true });
    const inFile = ({ client, faults, ...rest }: ReaderVerdict): ReaderVerdict => ({
      client,
      ...rest,
      faults: faults.map((fault) => ({ ...fault, line: fault.line && fault.line - (before.get(client) ?? 0) })),
    });
    return { ...verdict, readers: verdict.readers.map(inFile) };
  } finally {
    await log.close();
  }
}

/**
 * Rows that are gone from their table by now, and rows of an earlier numbering: the judge cannot know what they were, but a
 * copy of each was kept. Returns what differs from the copies.
 */
export async function compareWithKept(database: Database, histories: readonly string[]): Promise<string[]> {
  const kept = new Map<string, string>();
  const name = (stream: string, generation: number, key: string, seq: number) =>
    `${stream}:${key} ${generation} ${seq}`;
  for (const { stream, generation, seq, checksum, ...row } of await database.query<KeptRow>(
    'SELECT * FROM campaign.kept',
  )) {
    const digest = digestOf({ ...row, checksum: Number(checksum) });
    kept.set(name(stream, generation, row.key, Number(seq)), digest);
  }
  const generations = new Map<string, number>();
  for (const { stream, epoch, generation } of await database.query<{
    stream: string;
    epoch: string;
    generation: number;
  }>('SELECT * FROM campaign.generations')) {
    generations.set(`${stream} ${epoch}`, generation);
  }
  const faults: string[] = [];
  for (const path of histories) {
    let line = 0;
    await eachLine(path, (text) => {
      line += 1;
      if (!/"type":"event","channel":"(pruned|reborn):/.test(text)) return undefined;
      const event = JSON.parse(text) as { channel: string; position: string; digest: string };
      const [stream = '', key = ''] = event.channel.split(':');
      const [epoch = '', seq = ''] = event.position.split('.');
      const digest = kept.get(name(stream, generations.get(`${stream} ${epoch}`) ?? 0, key, Number(seq)));
      if (digest === undefined) faults.push(`${path}, line ${line}: nobody wrote ${event.channel} ${event.position}`);
      else if (digest !== event.digest)
        faults.push(`${path}, line ${line}: ${event.channel} ${event.position} is not what was written`);
      return undefined;
    });
  }
  return faults;
}

interface KeptRow {
  readonly stream: string;
  readonly generation: number;
  readonly key: string;
  readonly seq: string;
  readonly writer: number;
  readonly counter: number;
  readonly body: string;
  readonly checksum: string;
}
