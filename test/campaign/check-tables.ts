import { isWhole } from './content.js';
import type { Database } from './database.js';
import type { Ledger } from './writers/ledger.js';

interface Written {
  readonly key: string;
  readonly counter: number;
  readonly body: string;
  readonly checksum: string;
}

/** Every row that a writer made, whatever became of it since. */
const ROWS_OF = `SELECT key, counter, body, checksum FROM campaign.plain WHERE writer = $1
  UNION ALL SELECT key, counter, body, checksum FROM campaign.kept WHERE writer = $1`;

const HOLES = `SELECT key, count(*)::int AS rows, min(seq)::int AS first, max(seq)::int AS last FROM campaign.plain
  GROUP BY key HAVING min(seq) <> 1 OR count(*) <> max(seq)`;

/** Compares the tables with what the writers were told: what was committed is there once, what was rolled back is not. */
export async function checkTables(
  database: Database,
  ledgers: readonly Ledger[],
): Promise<{ rows: number; faults: string[] }> {
  const faults: string[] = [];
  let rows = 0;
  for (const ledger of ledgers) {
    const found = await database.query<Written>(ROWS_OF, [ledger.writer]);
    rows += found.length;
    const counters = new Set<number>();
    for (const row of found) {
      const name = `row ${row.counter} of writer ${ledger.writer}`;
      if (counters.has(row.counter)) faults.push(`${name} is there twice`);
      counters.add(row.counter);
      if (ledger.isRolledBack(row.counter)) faults.push(`${name} was rolled back, and is there`);
      if (!isWhole({ ...row, writer: ledger.writer, checksum: Number(row.checksum) })) faults.push(`${name} is broken`);
    }
    for (let counter = 1; counter <= ledger.last; counter++) {
      if (ledger.isCommitted(counter) && !counters.has(counter)) {
        faults.push(`row ${counter} of writer ${ledger.writer} was committed, and is not there`);
      }
    }
    for (const transaction of ledger.unknown) {
      const there = transaction.filter((counter) => counters.has(counter)).length;
      if (there !== 0 && there !== transaction.length) {
        faults.push(`of a transaction of writer ${ledger.writer} ${there} of ${transaction.length} rows are there`);
      }
    }
  }
  for (const { key, rows, first, last } of await database.query(HOLES)) {
    faults.push(`plain:${key} has ${rows} rows numbered ${first} to ${last}`);
  }
  return { rows, faults };
}
