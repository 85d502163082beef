import pg from 'pg';
import { TEST_SESSION } from './database.js';

/** A plain client of the database, as any service would use. */
export async function connectWriter(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: TEST_SESSION });
  await client.connect();
  return client;
}

export async function newVenture(writer: pg.Client): Promise<string> {
  const { rows } = await writer.query<{ id: string }>(
    `INSERT INTO ventures (name) VALUES ('test') RETURNING venture_id AS id`,
  );
  return rows[0]?.id ?? '';
}

export async function newExecution(writer: pg.Client, venture?: string): Promise<string> {
  const { rows } = await writer.query<{ id: string }>(
    'INSERT INTO agent_executions (venture_id) VALUES ($1) RETURNING execution_id AS id',
    [venture ?? (await newVenture(writer))],
  );
  return rows[0]?.id ?? '';
}

/** Writes `count` log rows in one statement. */
export async function log(writer: pg.Client, execution: string, count = 1, message = 'step'): Promise<void> {
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, message)
     SELECT $1, $2 || ' ' || i FROM generate_series(1, $3::int) i`,
    [execution, message, count],
  );
}

/** The pid of the backend that serves a client. */
export function processId(client: pg.Client): number {
  return (client as unknown as { processID: number }).processID;
}
