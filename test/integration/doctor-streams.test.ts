import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type pg from 'pg';
import { access } from '../../server/doctor/access.js';
import { type Circumstances, type Finding, runCheck } from '../../server/doctor/check.js';
import { PARTITION_TRIGGERS, streams, TRIGGERS } from '../../server/doctor/streams.js';
import { tracks } from '../../server/doctor/tracks.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt, fixFor, foundBy } from '../support/doctor.js';
import { connectWriter, log, newExecution, processId } from '../support/writer.js';

let database: TestDatabase;
let writer: pg.Client;
let roles: string[];

beforeEach(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  roles = [];
});
afterEach(async () => {
  for (const role of roles) await writer.query(`DROP OWNED BY ${role}`);
  await writer.end();
  await database.drop();
  if (roles.length === 0) return;
  const admin = await createDatabase();
  const client = await connectWriter(admin.url);
  for (const role of roles) await client.query(`DROP ROLE ${role}`);
  await client.end();
  await admin.drop();
});
const findings = (circumstances: Partial<Circumstances> = {}) => findingsAt(database.url, circumstances);

/** Makes something wrong, expects the one complaint, does what it says, and expects that all is well again. */
async function breaksAndMends(
  sql: string,
  complaint: RegExp,
  mend = (fix: string) => fix,
  find: () => Promise<Finding[]> = findings,
): Promise<void> {
  await writer.query(sql);
  const all = await find();
  expect(complaints(all)).toEqual([expect.stringMatching(complaint)]);
  for (const statement of mend(fixFor(all, complaint)).split(/(?<=;)/)) await writer.query(statement);
  expect(complaints(await find())).toEqual([]);
}

/** The checks that look at streams, which is faster than all. */
async function ofTracks(): Promise<Finding[]> {
  const circumstances = { databaseUrl: database.url, gatewayConnections: 7, longTransaction: 60, now: Date.now };
  return (await Promise.all([streams, tracks, access].map((check) => runCheck(check, circumstances)))).flat();
}

const newRole = async (name: string, attributes = '') => {
  const role = `${name}_${processId(writer)}`;
  await writer.query(`CREATE ROLE ${role} LOGIN ${attributes}`);
  roles.push(role);
  return role;
};

const urlAs = (role: string, url = database.url) => Object.assign(new URL(url), { username: role }).href;

const TABLE = 'agent_execution_logs';
const attachAgain = (fix: string) => fix.replace(/^As the owner \S+ /, '');

test.each([
  ['is disabled', `ALTER TABLE ${TABLE} DISABLE TRIGGER zz_rowcast_number`],
  ['fires only in replication', `ALTER TABLE ${TABLE} ENABLE REPLICA TRIGGER zz_rowcast_floor`],
])('a stream whose trigger %s', async (found, sql) => {
  await breaksAndMends(sql, new RegExp(found));
});

test('a stream without a trigger, and one that was renamed', async () => {
  await breaksAndMends(
    `DROP TRIGGER zz_rowcast_ring ON ${TABLE}`,
    /the triggers zz_rowcast_ring are missing/,
    attachAgain,
  );
  // One of the application: of a table of an extension that was renamed it is also said that it is missing.
  await writer.query(`CREATE TABLE topics (id int PRIMARY KEY);
    CREATE TABLE notes (topic int NOT NULL REFERENCES topics); SELECT rowcast.attach('notes', 'topic')`);
  await breaksAndMends('ALTER TABLE notes RENAME TO pages', /was renamed: INSERTs fail/, attachAgain);
});

test('a copy of a stream, and one that was restored without the rest', async () => {
  await writer.query(
    `CREATE TABLE notes (id text NOT NULL); SELECT rowcast.attach('notes', 'id', seq => 'n', tx => 'x')`,
  );
  const mend = (fix: string) => fix.replace(/ and attach it.*/, '');
  await breaksAndMends('CREATE TABLE copied (LIKE notes INCLUDING ALL)', /copied has the columns of a stream/, mend);
  await breaksAndMends('CREATE TABLE made AS SELECT * FROM rowcast.messages', /made has the columns of a stream/, mend);
});

test('a stream that forces row-level security', async () => {
  await breaksAndMends(`ALTER TABLE ${TABLE} FORCE ROW LEVEL SECURITY`, /forced on the owner/);
});

test('a stream whose table was changed to what attach refuses', async () => {
  await writer.query(`CREATE TABLE notes (id text NOT NULL); SELECT rowcast.attach('notes', 'id')`);
  await breaksAndMends('ALTER TABLE notes SET UNLOGGED', /notes is unlogged: a crash empties it/);
  const inherits = /more inherits from public.notes, and its rows/;
  await breaksAndMends('CREATE TABLE more () INHERITS (notes)', inherits, (fix) => `${fix} DROP TABLE more`);
  await writer.query(
    `CREATE FUNCTION other_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := 'other'; RETURN NEW; END $$`,
  );
  const trigger = 'CREATE TRIGGER zzz BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION other_key()';
  await breaksAndMends(trigger, /the trigger zzz of notes fires after those of Rowcast/);
  const published = 'ALTER TABLE notes REPLICA IDENTITY NOTHING; CREATE PUBLICATION everything FOR ALL TABLES';
  await breaksAndMends(published, /notes is published without a replica identity/);
});

test('a stream whose key refers to a table without being checked', async () => {
  const { rows } = await writer.query<{ major: number }>(
    `SELECT current_setting('server_version_num')::int / 10000 AS major`,
  );
  expect(rows).toEqual([{ major: 18 }]); // the first that has such references
  await writer.query(`CREATE TABLE shops (id int PRIMARY KEY);
    CREATE TABLE orders (shop int NOT NULL CONSTRAINT of_shop REFERENCES shops NOT ENFORCED); SELECT rowcast.attach('orders', 'shop')`);
  await breaksAndMends('SELECT', /^streams warning: orders: the reference of_shop is not enforced/, (fix) =>
    fix.replace(/As the owner \S+ /, ''),
  );
});

test('an attached table that is updated, and what makes its changes events', async () => {
  await writer.query(`CREATE TABLE orders (id int PRIMARY KEY, shop int NOT NULL); SELECT rowcast.attach('orders', 'shop');
    INSERT INTO orders VALUES (1, 1)`);
  await breaksAndMends(
    `${'UPDATE orders SET id = id; '.repeat(3)}SELECT pg_stat_force_next_flush()`,
    /^streams warning: orders: rows of public.orders are updated \(updates: 3, inserts: 1\), and an UPDATE is no event/,
    undefined,
    ofTracks,
  );
  const all = await ofTracks();
  expect(foundBy(all, 'tracks')).toEqual(['orders: public.orders, 2 triggers']);
  expect(foundBy(all, 'access')).toContain('orders can be read by services only');
});

test('a tracked table whose triggers are missing or off, or that is no longer as they were written for', async () => {
  expect(foundBy(await ofTracks(), 'tracks')).toEqual(['no table is tracked']);
  await writer.query(`CREATE TABLE orders (id int, shop int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE early PARTITION OF orders FOR VALUES FROM (0) TO (9); SELECT rowcast.track('orders', key => 'shop')`);
  expect(complaints(await findings())).toEqual([]);
  const breaks: [string, RegExp][] = [
    ['DROP TRIGGER rowcast_truncated ON early', /missing: rowcast_truncated of early$/],
    ['DROP TRIGGER rowcast_orders ON orders', /missing: rowcast_orders of early, rowcast_orders of orders$/],
    ['ALTER TABLE early DISABLE TRIGGER rowcast_orders', /the trigger rowcast_orders of early does not fire/],
    ['DROP TRIGGER zz_rowcast_keep ON rowcast_streams.orders', /^streams fault: orders: the triggers zz_rowcast_keep/],
    ['DROP FUNCTION rowcast.orders_can_read', /^access fault: orders: its access function is missing/],
    ['ALTER TABLE orders ADD note text', /^tracks warning: orders: public.orders has other columns or partitions/],
    ['ALTER TABLE orders DROP shop', /^tracks fault: orders: a column of the key or of the identity was dropped/],
  ];
  for (const [sql, complaint] of breaks) {
    await breaksAndMends(sql, complaint, (fix) => fix.replace(/ And track it again.*/, ''), ofTracks);
  }
  await writer.query(`SELECT rowcast.track('orders', name => 'every')`);
  // Rights are per channel, and a policy that was made since looks at each row.
  await writer.query('CREATE POLICY mine ON orders USING (id > 3); ALTER TABLE orders ENABLE ROW LEVEL SECURITY');
  expect(complaints(await ofTracks())).toContainEqual(
    expect.stringMatching(/^tracks fault: every: the policy mine of public.orders decides by more than the key/),
  );
  await writer.query('DROP POLICY mine ON orders; ALTER TABLE orders DISABLE ROW LEVEL SECURITY');
  await breaksAndMends(
    'DROP TABLE rowcast_streams.every',
    /^streams fault: every: its table was dropped/,
    undefined,
    ofTracks,
  );
  await writer.query(`SELECT rowcast.track('orders', name => 'every')`);
  await breaksAndMends('DROP TABLE orders', /^tracks fault: every: its table was dropped/, undefined, ofTracks);
});

test('a stream without an index, and with one that is not valid', async () => {
  const [{ unique, tx } = { unique: '', tx: '' }] = (
    await writer.query<{ unique: string; tx: string }>(
      `SELECT max(indexrelid::regclass::text) FILTER (WHERE indisunique AND indnatts = 2) AS unique,
                max(indexrelid::regclass::text) FILTER (WHERE NOT indisunique) AS tx
           FROM pg_index WHERE indrelid = '${TABLE}'::regclass`,
    )
  ).rows;
  await breaksAndMends(`DROP INDEX ${unique}`, /has no unique index over \(execution_id, seq\)/);
  await breaksAndMends(`DROP INDEX ${tx}`, /has no index over tx/);
  await writer.query('SET allow_system_table_mods = on');
  const invalid = `UPDATE pg_index SET indisvalid = false WHERE indrelid = '${TABLE}'::regclass AND NOT indisunique`;
  await breaksAndMends(invalid, /the index \S+ is not valid/);
});

test('a stream of either kind has the triggers that are looked for', async () => {
  await writer.query('CREATE TABLE parted (key int NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at)');
  await writer.query('CREATE TABLE parted_now PARTITION OF parted DEFAULT');
  await writer.query(`SELECT rowcast.attach('parted', 'key')`);
  const made = async (table: string) => {
    const sql = `SELECT tgname AS name FROM pg_trigger WHERE tgrelid = '${table}'::regclass AND tgname LIKE 'zz%' ORDER BY 1`;
    return (await writer.query<{ name: string }>(sql)).rows.map(({ name }) => name);
  };
  expect(await made(TABLE)).toEqual(TRIGGERS);
  expect(await made('parted')).toEqual([...TRIGGERS, ...PARTITION_TRIGGERS].sort());
  expect(complaints(await findings())).toEqual([]);
  await breaksAndMends(
    'ALTER TABLE parted_now DISABLE TRIGGER zz_rowcast_number',
    /zz_rowcast_number of public.parted_now is dis/,
  );
});

test('a stream whose table is gone', async () => {
  await writer.query(`CREATE TABLE notes (id text NOT NULL); SELECT rowcast.attach('notes', 'id')`);
  await breaksAndMends('DROP TABLE notes', /its table was dropped/);
});

test('a stream with a hole, which a trigger that was off has left', async () => {
  const execution = await newExecution(writer);
  await log(writer, execution, 50);
  await writer.query('SET session_replication_role = replica');
  await writer.query(`DELETE FROM ${TABLE} WHERE seq = 20`);
  await writer.query('RESET session_replication_role');
  expect(complaints(await findings())).toEqual([
    expect.stringMatching(new RegExp(`streams fault: execution:${execution} has 49 rows from 1 to 50`)),
  ]);
  await writer.query(`DELETE FROM ${TABLE} WHERE seq < 21`);
  expect(complaints(await findings())).toEqual([]);
});

test('a stream that the gateway may not read, or of which a policy hides rows or keys', async () => {
  const reading = /^streams fault: execution: rowcast_gateway may not read public\.agent_execution_logs/;
  await breaksAndMends(`REVOKE SELECT ON ${TABLE} FROM rowcast_gateway`, reading, attachAgain);
  const hiding = /^streams fault: execution: row-level security hides rows of public\.agent_execution_logs/;
  await breaksAndMends(`DROP POLICY rowcast_gateway ON ${TABLE}`, hiding, attachAgain);
  await breaksAndMends(`ALTER POLICY rowcast_gateway ON ${TABLE} USING (seq > 5)`, hiding, attachAgain);
  const narrow = `CREATE POLICY narrow ON ${TABLE} AS RESTRICTIVE USING (seq > 5)`;
  await breaksAndMends(narrow, /^streams fault: execution: the restrictive policy narrow hides rows/);
  const keys = `REVOKE SELECT (execution_id) ON agent_executions FROM rowcast_gateway`;
  await breaksAndMends(
    keys,
    /^streams fault: execution: rowcast_gateway may not read the keys of agent_exec/,
    attachAgain,
  );
});

test('a stream that was attached by a role which is not its owner any more', async () => {
  const shop = await newRole('shop');
  await writer.query(`GRANT USAGE, CREATE ON SCHEMA rowcast, public TO ${shop}`);
  await writer.query(
    `GRANT SELECT, INSERT, UPDATE, DELETE ON rowcast.streams, rowcast.channels, rowcast.retention TO ${shop}`,
  );
  const owner = await connectWriter(urlAs(shop));
  await owner.query('CREATE TABLE orders (shop int NOT NULL)');
  await owner.query(`SELECT rowcast.attach('orders', 'shop')`);
  await owner.end();
  expect(complaints(await findings())).toEqual([]);
  const heir = await newRole('heir');
  await breaksAndMends(
    `ALTER TABLE orders OWNER TO ${heir}`,
    /the triggers run as shop_\d+, and public\.orders belongs to heir_\d+: INSERTs fail/,
    (fix) => fix.replace('As an administrator: ', ''),
  );
  await writer.query('INSERT INTO orders VALUES (1)');
  await breaksAndMends(
    `REVOKE INSERT ON rowcast.channels FROM ${heir}`,
    /the triggers run as heir_\d+, which lacks rights: INSERTs fail/,
  );
});
