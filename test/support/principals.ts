/**
 * The cast. In tests of what a user may do the same names stand for the same rights, which the set-up of the test gives:
 *
 * | | |
 * | --- | --- |
 * | `ann` | Has every right that the test is about: an editor of the venture, the owner of the rows. |
 * | `bob` | Another user beside her. Where she alone has a right, he does not. |
 * | `vic` | A viewer of the venture: reads, and writes nothing. |
 * | `eve` | Has a valid token and no right at all. |
 *
 * Matrices of access name principals by their role instead: `viewer`, `editor`, `neighbour` (of another tenant),
 * `stranger` (a member of nothing), `service`, `anon`.
 */
import type pg from 'pg';
import { type Claims, signWith } from './issuer.js';
import { log, newExecution } from './writer.js';

const SECRET = 'a secret of more than thirty-two characters';

/** Settings of a gateway that admits the tokens of this file. */
export const TOKENS = { ROWCAST_JWT_SECRET: SECRET };

const sign = signWith(new TextEncoder().encode(SECRET), { alg: 'HS256' });

export function tokenOf(subject: string, claims: Claims = {}): Promise<string> {
  return sign({ ...claims, sub: subject });
}

/** A venture with an execution; every text in it, and every row of its channels, names it. */
export interface Tenant {
  readonly name: string;
  readonly venture: string;
  readonly execution: string;
}

export async function newTenant(writer: pg.Client, name: string): Promise<Tenant> {
  const { rows } = await writer.query<{ id: string }>(
    'INSERT INTO ventures (name) VALUES ($1) RETURNING venture_id AS id',
    [`of ${name}`],
  );
  const venture = rows[0]?.id ?? '';
  const execution = await newExecution(writer, venture);
  await log(writer, execution, 2, `of ${name}`);
  return { name, venture, execution };
}

export async function join(
  writer: pg.Client,
  { venture }: Pick<Tenant, 'venture'>,
  user: string,
  role: 'viewer' | 'editor' = 'viewer',
): Promise<void> {
  await writer.query('INSERT INTO venture_members VALUES ($1, $2, $3)', [venture, user, role]);
}

export async function leave(writer: pg.Client, { venture }: Pick<Tenant, 'venture'>, user: string): Promise<void> {
  await writer.query('DELETE FROM venture_members WHERE venture_id = $1 AND user_id = $2', [venture, user]);
}
