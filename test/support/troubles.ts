/** Ways in which one table stops being readable, or one row of it, and how it is mended. */
import type pg from 'pg';

export interface Trouble {
  readonly name: string;
  readonly breaks: string;
  readonly heals: string;
  /** A transaction that is open meanwhile is what breaks it. */
  readonly holds?: boolean;
  /** INSERTs fail too while it lasts. */
  readonly noWrites?: boolean;
}

/** The numbers of the whole stream cannot be read. `TABLE` is its name. */
export const streamTroubles: readonly Trouble[] = [
  {
    name: 'a right that was taken back',
    breaks: 'REVOKE SELECT ON TABLE_ FROM rowcast_gateway',
    heals: 'GRANT SELECT ON TABLE_ TO rowcast_gateway',
  },
  {
    name: 'a restrictive policy that raises',
    breaks: `CREATE POLICY strict ON TABLE_ AS RESTRICTIVE TO rowcast_gateway USING (id = current_setting('app.tenant'))`,
    heals: 'DROP POLICY strict ON TABLE_',
  },
  {
    name: 'a table that is locked',
    breaks: 'BEGIN; LOCK TABLE TABLE_ IN ACCESS EXCLUSIVE MODE',
    heals: 'COMMIT',
    holds: true,
    noWrites: true,
  },
  {
    name: 'a policy that is slow',
    breaks: `CREATE POLICY slow ON TABLE_ AS RESTRICTIVE TO rowcast_gateway USING (pg_sleep(0.7) IS NOT NULL)`,
    heals: 'DROP POLICY slow ON TABLE_',
  },
  {
    name: 'a key of another type',
    breaks: `ALTER TABLE TABLE_ RENAME id TO was; ALTER TABLE TABLE_ ADD id jsonb`,
    heals: 'ALTER TABLE TABLE_ DROP id; ALTER TABLE TABLE_ RENAME was TO id',
    noWrites: true,
  },
  {
    name: 'a key that was renamed',
    breaks: 'ALTER TABLE TABLE_ RENAME id TO other',
    heals: 'ALTER TABLE TABLE_ RENAME other TO id',
    noWrites: true,
  },
  {
    name: 'a seq that was renamed',
    breaks: 'ALTER TABLE TABLE_ RENAME seq TO number',
    heals: 'ALTER TABLE TABLE_ RENAME number TO seq',
    noWrites: true,
  },
  {
    name: 'columns that may not be read',
    breaks: 'REVOKE SELECT ON TABLE_ FROM rowcast_gateway; GRANT SELECT (id, seq, tx) ON TABLE_ TO rowcast_gateway',
    heals: 'GRANT SELECT ON TABLE_ TO rowcast_gateway',
  },
];

export async function makeTroubled(writer: pg.Client, table: string): Promise<void> {
  await writer.query(`CREATE TABLE ${table} (id text NOT NULL, v int); ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`);
  await writer.query('SELECT rowcast.attach($1::regclass, $2)', [table, 'id']);
}

export function statement(sql: string, table: string): string {
  return sql.replaceAll('TABLE_', table);
}
