import { SignJWT } from 'jose';
import type pg from 'pg';

export const JWT_SECRET = 'a secret of at least thirty-two characters';

/** A token for the HTTP API, good for an hour unless said otherwise. */
export function tokenFor(
  subject: string,
  claims: Record<string, unknown> = {},
  expires: string | Date = '1h',
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setExpirationTime(expires)
    .sign(new TextEncoder().encode(JWT_SECRET));
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  // Tests compare it with what they expect.
  readonly body: ReturnType<typeof JSON.parse>;
}

/** Asks the API of a gateway with a token, if one is given. */
export async function ask(
  gateway: { readonly url: string },
  path: string,
  token?: string,
  init: RequestInit = {},
): Promise<ApiAnswer> {
  const authorization = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const response = await fetch(`${gateway.url}${path}`, {
    ...init,
    headers: { ...(init.headers as Record<string, string>), ...authorization },
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
}

/** A venture with these members, as editors. */
export async function createVenture(writer: pg.Pool | pg.Client, ...members: string[]): Promise<string> {
  const { rows } = await writer.query<{ id: string }>(
    `INSERT INTO ventures (name) VALUES ('test') RETURNING venture_id AS id`,
  );
  const id = rows[0]?.id ?? '';
  for (const member of members) {
    await writer.query(`INSERT INTO venture_members VALUES ($1, $2, 'editor')`, [id, member]);
  }
  return id;
}

export async function createExecution(
  writer: pg.Pool | pg.Client,
  venture: string,
  status = 'running',
): Promise<string> {
  const { rows } = await writer.query<{ id: string }>(
    'INSERT INTO agent_executions (venture_id, status) VALUES ($1, $2::rowcast.execution_status) RETURNING execution_id AS id',
    [venture, status],
  );
  return rows[0]?.id ?? '';
}

/** Adds so many rows to the log of an execution, in one statement. */
export async function addLogs(writer: pg.Pool | pg.Client, execution: string, count: number, from = 1): Promise<void> {
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, message) SELECT $1, 'line ' || n FROM generate_series($2::int, $3::int) n`,
    [execution, from, from + count - 1],
  );
}
