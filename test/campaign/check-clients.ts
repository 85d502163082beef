import { feed } from '../../server/cli/verify.js';
import { TableReader } from '../../server/postgres/table-reader.js';
import { digestOf } from '../../server/verify/digest.js';
import { Judge } from '../../server/verify/judge.js';
import type { Verdict } from '../../server/verify/verdict.js';
import type { Database } from './database.js';

/** Events of the streams whose rows do not all stay. */
const KEPT_STREAMS = /"type":"event","channel":"(pruned|reborn):/;

/**
 * Compares every history with the tables, and with the copies that were kept of rows which are gone from their table by
 * now or are of an earlier numbering: what those were the judge cannot know. `faults` is what differs from the copies, and
 * the histories that have no end. In each file is one client, so lines are those of its file.
 */
export async function checkClients(
  database: Database,
  histories: readonly string[],
): Promise<{ verdict: Verdict; faults: string[] }> {
  const kept = await Kept.read(database);
  const log = await TableReader.connect(database.url);
  try {
    // One judge for all: many have seen the same rows, which it reads once.
    const judge = new Judge(log);
    const faults: string[] = [];
    for (const path of histories) {
      await feed(path, {
        nextFile: () => judge.nextFile(),
        feed(line) {
          const waits = judge.feed(line);
          const fault = KEPT_STREAMS.test(line) ? kept.compare(line) : null;
          if (fault !== null) faults.push(`${path}, line ${judge.lines}: ${fault}`);
          return waits;
        },
        get lines() {
          return judge.lines;
        },
      });
    }
    const verdict = await judge.finish({ complete: true });
    const cut = verdict.readers.filter(({ ended }) => !ended);
    return { verdict, faults: [...faults, ...cut.map(({ client, channel }) => `${client} ${channel}: no end`)] };
  } finally {
    await log.close();
  }
}

/** What was written to the streams whose rows do not all stay. */
class Kept {
  readonly #digests = new Map<string, string>();
  /** Which numbering an epoch belongs to. */
  readonly #generations = new Map<string, number>();

  static async read(database: Database): Promise<Kept> {
    const kept = new Kept();
    for (const { stream, generation, seq, checksum, ...row } of await database.query<KeptRow>(
      'SELECT * FROM campaign.kept',
    )) {
      kept.#digests.set(
        nameOf(stream, generation, row.key, Number(seq)),
        digestOf({ ...row, checksum: Number(checksum) }),
      );
    }
    for (const { stream, epoch, generation } of await database.query<Generation>(
      'SELECT * FROM campaign.generations',
    )) {
      kept.#generations.set(`${stream} ${epoch}`, generation);
    }
    return kept;
  }

  /** What is wrong with an event, if anything is. */
  compare(line: string): string | null {
    const { channel, position, digest } = JSON.parse(line) as { channel: string; position: string; digest: string };
    const [stream = '', key = ''] = channel.split(':');
    const [epoch = '', seq = ''] = position.split('.');
    const written = this.#digests.get(
      nameOf(stream, this.#generations.get(`${stream} ${epoch}`) ?? 0, key, Number(seq)),
    );
    if (written === undefined) return `nobody wrote ${channel} ${position}`;
    return written === digest ? null : `${channel} ${position} is not what was written`;
  }
}

function nameOf(stream: string, generation: number, key: string, seq: number): string {
  return `${stream}:${key} ${generation} ${seq}`;
}

interface Generation {
  readonly stream: string;
  readonly epoch: string;
  readonly generation: number;
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
