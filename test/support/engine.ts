/** A database with the engine, plans, and the laws that must hold after every run. */
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from './database.js';
import type { Random } from './random.js';
import { connectWriter, newVenture } from './writer.js';

export interface EngineDatabase extends TestDatabase {
  readonly client: pg.Client;
  readonly venture: string;
}

export async function engineDatabase(): Promise<EngineDatabase> {
  const database = await createDatabase();
  await migrate(database.url, { with: ['engine'] });
  const client = await connectWriter(database.url);
  return {
    ...database,
    client,
    venture: await newVenture(client),
    async drop() {
      await client.end();
      await database.drop();
    },
  };
}

/** A pool whose sessions the database of the test knows. */
export const poolOf = (url: string, max: number): pg.Pool =>
  new pg.Pool({ connectionString: url, max, application_name: TEST_SESSION });

export interface PlannedTask {
  readonly name: string;
  readonly agent_type?: string;
  readonly kind?: string;
  readonly needs?: readonly (string | { task: string; on: string })[];
  readonly [option: string]: unknown;
}

export interface Claimed {
  readonly task_id: string;
  readonly execution_id: string;
  readonly name: string;
  readonly agent_type: string;
  readonly attempt: number;
  readonly input: Record<string, unknown>;
  readonly checkpoint: unknown;
  readonly lease: string;
  readonly results: Record<string, unknown>;
}

type Client = Pick<pg.Client, 'query'>;

/** The value of the only column of the only row. */
export async function value<T>(client: Client, text: string, values: readonly unknown[] = []): Promise<T> {
  const { rows } = await client.query({ text, values: [...values], rowMode: 'array' });
  return (rows as unknown as T[][])[0]?.[0] as T;
}

export async function planned(
  client: Client,
  venture: string,
  tasks: readonly PlannedTask[],
  options: Record<string, unknown> = {},
): Promise<string> {
  const request = JSON.stringify({ tasks, ...options });
  return value(client, 'SELECT rowcast.plan_execution($1, $2)', [venture, request]);
}

export async function started(...plan: Parameters<typeof planned>): Promise<string> {
  const execution = await planned(...plan);
  await plan[0].query('SELECT rowcast.start_execution($1)', [execution]);
  return execution;
}

export const claim = (client: Client, types: readonly string[], worker = 'w'): Promise<Claimed | null> =>
  value(client, 'SELECT rowcast.claim_task($1, $2)', [worker, types]);

/** Claims a task that must be there. */
export async function claimed(client: Client, ...types: string[]): Promise<Claimed> {
  const task = await claim(client, types);
  if (task === null) throw new Error(`nothing to claim of ${types.join(', ')}`);
  return task;
}

export const complete = (client: Client, { task_id, lease }: Claimed, output: unknown = null): Promise<boolean> =>
  value(client, 'SELECT rowcast.complete_task($1, $2, $3)', [task_id, lease, JSON.stringify(output)]);

export const fail = (client: Client, { task_id, lease }: Claimed, error: object): Promise<boolean> =>
  value(client, 'SELECT rowcast.fail_task($1, $2, $3)', [task_id, lease, JSON.stringify(error)]);

export async function statuses(client: Client, execution: string): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; status: string }>(
    'SELECT name, status FROM agent_tasks WHERE execution_id = $1 ORDER BY number',
    [execution],
  );
  return Object.fromEntries(rows.map(({ name, status }) => [name, status]));
}

export const statusOf = (client: Client, execution: string): Promise<string> =>
  value(client, 'SELECT status FROM agent_executions WHERE execution_id = $1', [execution]);

/** The events of an execution in their order: the type, and the task where it is about one. */
export async function events(client: Client, execution: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `SELECT concat_ws(' ', event_type, context ->> 'step') AS line FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq`,
    [execution],
  );
  return rows.map(({ line }) => line);
}

/** The laws that are broken; the right answer is none. */
export async function brokenLaws(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `SELECT format('%s: %s (%s)', law, detail, execution_id) AS line FROM rowcast.broken_laws()`,
  );
  return rows.map(({ line }) => line);
}

/** A plan without cycles, of agents `a` to `d`. */
export function randomPlan(random: Random): PlannedTask[] {
  const names = Array.from({ length: random.int(1, 12) }, (_, index) => `t${index}`);
  return names.map((name, index) => ({
    name,
    agent_type: random.pick(['a', 'b', 'c', 'd']),
    needs: names
      .slice(0, index)
      .filter(() => random.chance(0.25))
      .map((task) => ({ task, on: random.chance(0.2) ? 'ended' : 'completed' })),
    priority: random.int(-1, 1),
    optional: random.chance(0.1),
    ...(random.chance(0.15) && { concurrency_key: random.pick(['k', 'l']) }),
  }));
}
