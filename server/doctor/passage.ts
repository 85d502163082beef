/**
 * Checks whether the connection to the database keeps its session: a real notification is sent, and a real lock is held
 * across statements, because poolers in transaction mode cannot be recognized reliably in any other way.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { LOCK_CLASS } from '../postgres/locks.js';
import { changesSessions, isPooled } from '../postgres/pooler.js';
import { type Check, fault, formatDuration, ok, type Probe } from './check.js';

const SESSIONS_ONLY =
  'Connect to PostgreSQL directly, or through a pooler in session mode (PgBouncer: pool_mode = session). Writers may use any mode.';

/** The timeout of the notification, in milliseconds. */
const NOTIFY_LIMIT = 2_000;

export const pooler: Check = {
  name: 'pooler',
  async run(probe) {
    const client = await probe.connect();
    if (await changesSessions(client, () => probe.connect()))
      return fault('a pooler in transaction mode: the statements of one connection change sessions', SESSIONS_ONLY);
    return ok((await isPooled(client)) ? 'a pooler in session mode' : 'none in between');
  },
};

export const notify: Check = {
  name: 'notify',
  async run(probe) {
    const channel = `rowcast_doctor_${randomInt(2 ** 40).toString(36)}`;
    const listener = await probe.connect();
    const sender = await probe.connect();
    const notified = new Promise((resolve) => listener.once('notification', resolve));
    await listener.query(`LISTEN ${channel}`);
    const start = performance.now();
    await sender.query('SELECT pg_notify($1, $2)', [channel, '']);
    const stop = new AbortController();
    const late = delay(NOTIFY_LIMIT, 'late', { signal: stop.signal }).catch(() => 'late');
    const arrived = (await Promise.race([notified, late])) !== 'late';
    stop.abort();
    await listener.query(`UNLISTEN ${channel}`);
    if (arrived) return ok(`LISTEN receives NOTIFY, within ${formatDuration(performance.now() - start)}`);
    return fault(
      `LISTEN was accepted, but a NOTIFY did not arrive within ${NOTIFY_LIMIT / 1000} s, as behind a pooler in transaction mode`,
      SESSIONS_ONLY,
    );
  },
};

/** The number of open transactions, which make a pooler assign another session to the next statement. */
const OTHERS = 3;

/** Runs `work` while other transactions of the same database and role are open. */
async function besideOthers<T>(probe: Probe, work: (others: readonly pg.Client[]) => Promise<T>): Promise<T> {
  const others: pg.Client[] = [];
  try {
    for (let other = 0; other < OTHERS; other += 1) {
      const client = await probe.connect();
      await client.query('BEGIN');
      others.push(client);
    }
    return await work(others);
  } finally {
    await Promise.all(others.map((client) => client.query('ROLLBACK').catch(() => {})));
  }
}

const LOCK = 'SELECT pg_try_advisory_lock($1, $2) AS done';
const UNLOCK = 'SELECT pg_advisory_unlock($1, $2) AS done';

export const locks: Check = {
  name: 'locks',
  async run(probe) {
    const key = [LOCK_CLASS, randomInt(1_000_000, 2 ** 31)];
    const client = await probe.connect();
    await client.query(LOCK, key);
    const kept = await besideOthers(probe, async (others) => {
      const { rows } = await client.query<{ done: boolean }>(UNLOCK, key);
      // The lock must not remain: one of these connections has the session that holds it.
      if (!rows[0]?.done) for (const other of others) await other.query(UNLOCK, key);
      return rows[0]?.done === true;
    });
    if (kept) return ok('an advisory lock stays with its connection');
    return fault(
      'an advisory lock was lost between two statements of one connection: the gate cannot work',
      SESSIONS_ONLY,
    );
  },
};
