import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import type pg from 'pg';
import type { RowcastError } from '../../client/index.js';
import type { Gateway } from '../../server/gateway.js';
import { testClient } from '../support/client.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution, newVenture } from '../support/writer.js';

const SECRET = 'a secret of more than thirty-two characters';

/** From the COMMIT of a revocation to the end of what it ends, in milliseconds. */
const REVOKED_WITHIN = 2_000;

const tokenOf = (subject: string, claims: Record<string, unknown> = {}) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));

let database: TestDatabase;
let writer: pg.Client;
let gateway: Gateway;
let login: string;
let venture: string;
let execution: string;

/** The gateway's login is a member of rowcast_gateway, and nothing else: what works here needs no more. */
beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  login = `gateway_${new URL(database.url).pathname.slice(6)}`;
  await writer.query(`CREATE ROLE ${login} LOGIN IN ROLE rowcast_gateway`);
  const url = new URL(database.url);
  url.username = login;
  gateway = await startTestGateway(url.href, {
    ...NO_RATES,
    ROWCAST_JWT_SECRET: SECRET,
    ROWCAST_ACCESS_INTERVAL: '3600000', // only what rings is heard
    ROWCAST_PRUNE_INTERVAL: '100',
  });
  await writer.query('CREATE SCHEMA app');
});
beforeEach(async () => {
  venture = await newVenture(writer);
  execution = await newExecution(writer, venture);
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
  const [cluster] = clusters();
  const admin = await connectWriter(cluster?.url ?? '');
  await admin.query(`DROP ROLE ${login}`);
  await admin.end();
});

const join = (user: string, role = 'viewer') =>
  writer.query('INSERT INTO venture_members VALUES ($1, $2, $3)', [venture, user, role]);
const leave = (user: string) =>
  writer.query('DELETE FROM venture_members WHERE venture_id = $1 AND user_id = $2', [venture, user]);

function clientOf(user: string, transport: 'websocket' | 'sse' = 'websocket', claims: Record<string, unknown> = {}) {
  return testClient({ url: gateway.url, transports: [transport], token: () => tokenOf(user, claims) });
}

/** What ended a subscription, once it has ended. */
async function ended(subscription: { state: string }, errors: RowcastError[]): Promise<string | undefined> {
  await until(() => subscription.state === 'closed', { what: 'the subscription to end' });
  return errors.at(-1)?.code;
}

function attempt(user: string, channel: string, transport: 'websocket' | 'sse' = 'websocket') {
  const errors: RowcastError[] = [];
  const subscription = clientOf(user, transport).subscribe(channel, {
    since: 'start',
    onEvent: () => {},
    onState: (_, error) => error && errors.push(error),
  });
  return ended(subscription, errors);
}

describe('I5: the executions of a venture', () => {
  test('are read by its members, and by no other user', async () => {
    await join('ann');
    await log(writer, execution, 3);
    await follow(clientOf('ann'), `execution:${execution}`).count(3);
    await follow(clientOf('ann'), `venture:${venture}`).count(1);
    expect(await attempt('bob', `execution:${execution}`)).toBe('forbidden');
    expect(await attempt('bob', `venture:${venture}`, 'sse')).toBe('forbidden');
  });

  test('who may not read does not hear whether there is something; a service does', async () => {
    const nothing = 'execution:00000000-0000-4000-8000-000000000000';
    expect(await attempt('ann', nothing)).toBe('forbidden');
    expect(await attempt('ann', 'no-stream:x')).toBe('forbidden');
    const service = clientOf('service', 'websocket', { role: 'service_role' });
    const errors: RowcastError[] = [];
    const subscription = service.subscribe(nothing, {
      onEvent: () => {},
      onState: (_, error) => error && errors.push(error),
    });
    expect(await ended(subscription, errors)).toBe('unknown_channel');
  });

  test('a service reads every channel', async () => {
    await log(writer, execution, 2);
    await follow(clientOf('service', 'websocket', { role: 'service_role' }), `execution:${execution}`).count(2);
  });

  test.each(['websocket', 'sse'] as const)(
    'a membership that ends by SQL ends an open stream at once (%s)',
    async (transport) => {
      await join('ann');
      await join('ben');
      const errors: RowcastError[] = [];
      const client = clientOf('ann', transport);
      const events: number[] = [];
      const subscription = client.subscribe(`execution:${execution}`, {
        since: 'start',
        onEvent: ({ seq }) => events.push(seq),
        onState: (_, error) => error && errors.push(error),
      });
      const stays = follow(clientOf('ben', transport), `execution:${execution}`);
      await log(writer, execution, 2);
      await until(() => events.length === 2, { what: 'the events' });
      const began = fairNow();
      await leave('ann');
      expect(await ended(subscription, errors)).toBe('forbidden');
      expect(fairNow() - began).toBeLessThan(REVOKED_WITHIN);
      await log(writer, execution, 3);
      await stays.count(5);
      expect(stays.events.map(({ seq }) => seq)).toEqual(seqs(1, 5));
      expect(events).toEqual([1, 2]);
      // Given back, it is good again at once.
      await join('ann');
      await follow(clientOf('ann', transport), `execution:${execution}`).count(5);
    },
  );

  test('a venture that is emptied at once, and an execution that moves to another, end the streams as well', async () => {
    await join('ann');
    const errors: RowcastError[] = [];
    const subscription = clientOf('ann').subscribe(`execution:${execution}`, {
      onEvent: () => {},
      onState: (_, error) => error && errors.push(error),
    });
    await until(() => subscription.state === 'live', { what: 'the subscription' });
    await writer.query('UPDATE agent_executions SET venture_id = $2 WHERE execution_id = $1', [
      execution,
      await newVenture(writer),
    ]);
    expect(await ended(subscription, errors)).toBe('forbidden');
  });
});

describe('I5: any table', () => {
  const attach = (name: string, key: string) =>
    writer.query('SELECT rowcast.attach($1::regclass, $2, $3)', [`app.${name}`, key, name]);

  test('without a foreign key: users that see a row of the channel by its policies', async () => {
    await writer.query(`
      CREATE TABLE app.notes (owner text NOT NULL, body text);
      ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
      GRANT USAGE ON SCHEMA app TO authenticated;
      GRANT SELECT ON app.notes TO authenticated;
      CREATE POLICY own ON app.notes TO authenticated USING (owner = rowcast.subject())`);
    await attach('notes', 'owner');
    await writer.query(`INSERT INTO app.notes VALUES ('ann', 'hello'), ('bob', 'hello')`);
    await follow(clientOf('ann'), 'notes:ann').count(1);
    expect(await attempt('ann', 'notes:bob')).toBe('forbidden');
    expect(await attempt('cid', 'notes:cid')).toBe('forbidden'); // no row, nothing to see
  });

  test('with a guard: users that it admits, also to a channel that has no row yet', async () => {
    await writer.query(`
      CREATE FUNCTION app.may_read_message(key text) RETURNS boolean LANGUAGE sql STABLE
      RETURN key = 'lobby' OR key = 'user-' || rowcast.subject()`);
    await writer.query(`GRANT USAGE ON SCHEMA app TO authenticated`);
    expect(await attempt('ann', 'message:lobby')).toBe('forbidden');
    await writer.query(`SELECT rowcast.guard('message', 'app.may_read_message')`);
    const lobby = follow(clientOf('ann'), 'message:lobby');
    await lobby.live();
    await writer.query(`SELECT rowcast.publish('message:lobby', 'hello')`);
    await lobby.count(1);
    expect(await attempt('ann', 'message:user-bob')).toBe('forbidden');
    await writer.query(`SELECT rowcast.guard('message', NULL)`);
    await until(() => lobby.subscription.state === 'closed', { what: 'the guard to be gone' });
  });

  test('a guard that is no such function is refused', async () => {
    await expect(writer.query(`SELECT rowcast.guard('message', 'rowcast.make_epoch')`)).rejects.toThrow(
      'rowcast.make_epoch is no function of one text that returns a boolean',
    );
    await expect(writer.query(`SELECT rowcast.guard('nothing', NULL)`)).rejects.toThrow("there is no stream 'nothing'");
  });

  test('a policy that fails admits no user, is in the log, and mends itself', async () => {
    await writer.query(`
      CREATE TABLE app.fragile (owner text NOT NULL, allowed text NOT NULL);
      ALTER TABLE app.fragile ENABLE ROW LEVEL SECURITY;
      GRANT USAGE ON SCHEMA app TO authenticated;
      GRANT SELECT ON app.fragile TO authenticated;
      CREATE POLICY own ON app.fragile TO authenticated USING (1 / length(allowed) = 1)`);
    await attach('fragile', 'owner');
    await writer.query(`INSERT INTO app.fragile VALUES ('x', '')`);
    const errors: RowcastError[] = [];
    const events: number[] = [];
    const subscription = clientOf('ann').subscribe('fragile:x', {
      since: 'start',
      onEvent: ({ seq }) => events.push(seq),
      onState: (_, error) => error && errors.push(error),
    });
    await until(() => errors.length > 0, { what: 'the refusal' });
    expect(errors[0]).toMatchObject({ code: 'policy_failed', retries: true });
    await writer.query(`UPDATE app.fragile SET allowed = 'y'`);
    await until(() => subscription.state === 'live', { what: 'the policy to work' });
    await writer.query(`UPDATE app.fragile SET allowed = ''; SELECT pg_notify('rowcast', 'access')`);
    await until(() => errors.length > 1, { what: 'the right to be lost' });
    expect(errors.at(-1)).toMatchObject({ code: 'policy_failed', retries: true });
    await writer.query(`UPDATE app.fragile SET allowed = 'y'; INSERT INTO app.fragile VALUES ('x', 'z')`);
    await until(() => events.length === 2, { what: 'the event that was missed' });
    expect(events).toEqual([1, 2]);
  });

  test('what a guard has set for one principal is not there for the next, and one that hangs holds up no other stream', async () => {
    await writer.query(`
      CREATE TABLE app.odd (key text NOT NULL);
      GRANT USAGE ON SCHEMA app TO authenticated;
      CREATE FUNCTION app.odd_guard(key text) RETURNS boolean LANGUAGE plpgsql AS $$
      DECLARE
        first boolean := coalesce(current_setting('app.seen', true), '') = '';
      BEGIN
        PERFORM set_config('app.seen', rowcast.subject(), true);
        IF key = 'hangs' THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
        RETURN first;
      END $$`);
    await attach('odd', 'key');
    await writer.query(`SELECT rowcast.guard('odd', 'app.odd_guard')`);
    const { rows } = await writer.query(`SELECT allowed FROM rowcast.decide(
      ARRAY['authenticated', 'authenticated'], ARRAY['{"sub":"ann"}', '{"sub":"bob"}'], ARRAY['odd:a', 'odd:a'])`);
    expect(rows).toEqual([{ allowed: true }, { allowed: true }]);

    await writer.query('SELECT pg_advisory_lock(4711)');
    const hangs = clientOf('ann').subscribe('odd:hangs', { onEvent: () => {} });
    const waiting = async () => {
      const { rows } = await writer.query(
        `SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted`,
      );
      return rows.length > 0;
    };
    await until(waiting, { what: 'the guard to hang' });
    await join('ann');
    await follow(clientOf('ann'), `execution:${execution}`).live();
    await writer.query('SELECT pg_advisory_unlock(4711)');
    await until(() => hangs.state === 'live', { what: 'the guard to answer' });
  });

  test('a membership table of the application: watched by user, or as a whole', async () => {
    await writer.query(`
      CREATE TABLE app.rooms (room text PRIMARY KEY);
      CREATE TABLE app.room_users (room text NOT NULL, login text NOT NULL);
      CREATE TABLE app.chat (room text NOT NULL REFERENCES app.rooms, body text);
      ALTER TABLE app.rooms ENABLE ROW LEVEL SECURITY;
      GRANT USAGE ON SCHEMA app TO authenticated;
      GRANT SELECT ON app.rooms, app.room_users TO authenticated;
      CREATE POLICY members ON app.rooms TO authenticated
        USING (EXISTS (SELECT FROM app.room_users u WHERE u.room = rooms.room AND u.login = rowcast.subject()));
      INSERT INTO app.rooms VALUES ('red')`);
    await attach('chat', 'room');
    for (const column of ['login', null]) {
      await writer.query('SELECT rowcast.watch_access($1, $2)', ['app.room_users', column]);
      await writer.query(`INSERT INTO app.room_users VALUES ('red', 'ann')`);
      const reader = follow(clientOf('ann'), 'chat:red', 'now');
      await reader.live();
      await writer.query(column === null ? 'TRUNCATE app.room_users' : 'DELETE FROM app.room_users');
      await until(() => reader.subscription.state === 'closed', { what: 'the membership to end' });
    }
    await expect(writer.query(`SELECT rowcast.watch_access('app.room_users', 'nobody')`)).rejects.toThrow(
      'app.room_users has no column nobody',
    );
  });
});

describe('the login of the gateway', () => {
  test('prunes by the policies of the streams, and cannot delete otherwise', async () => {
    await log(writer, execution, 50);
    await writer.query(`SELECT rowcast.retain('execution', keep_rows => 5)`);
    const left = async () => {
      const { rows } = await writer.query<{ n: number }>(
        'SELECT count(*)::int AS n FROM agent_execution_logs WHERE execution_id = $1',
        [execution],
      );
      return rows[0]?.n === 5;
    };
    await until(left, { what: 'the events to be pruned' });
    await writer.query(`SELECT rowcast.retain('execution')`);
  });

  test('is no superuser and owns nothing; as rowcast_gateway it may read streams, and write tickets only', async () => {
    const { rows } = await writer.query(`
      SELECT c.oid::regclass::text AS relation, p.privilege FROM pg_class c
        CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) p(privilege)
       WHERE c.relnamespace IN ('public'::regnamespace, 'rowcast'::regnamespace) AND c.relkind IN ('r', 'p')
         AND has_table_privilege('rowcast_gateway', c.oid, p.privilege) ORDER BY 1, 2`);
    expect(rows).toEqual([
      { relation: 'rowcast.tickets', privilege: 'DELETE' },
      { relation: 'rowcast.tickets', privilege: 'INSERT' },
    ]);
    const { rows: attributes } = await writer.query(
      `SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
              (SELECT count(*)::int FROM pg_class WHERE relowner = r.oid) AS owns
         FROM pg_roles r WHERE rolname = 'rowcast_gateway'`,
    );
    expect(attributes[0]).toEqual({
      rolsuper: false,
      rolinherit: false,
      rolcreaterole: false,
      rolcreatedb: false,
      rolcanlogin: false,
      rolreplication: false,
      rolbypassrls: false,
      owns: 0,
    });
  });
});
