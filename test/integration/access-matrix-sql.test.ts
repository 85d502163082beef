import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { join, newTenant, type Tenant } from '../support/principals.js';
import { connectWriter } from '../support/writer.js';

/** Who asks, by role and claims, as a gateway's transactions do. */
const PRINCIPALS = {
  anon: { role: 'anon', sub: 'viewer' },
  stranger: { role: 'authenticated', sub: 'stranger' },
  viewer: { role: 'authenticated', sub: 'viewer' },
  editor: { role: 'authenticated', sub: 'editor' },
  neighbour: { role: 'authenticated', sub: 'neighbour' },
  service: { role: 'service_role', sub: 'service' },
  gateway: { role: 'rowcast_gateway', sub: 'viewer' },
} as const;
type Name = keyof typeof PRINCIPALS;
const NAMES = Object.keys(PRINCIPALS) as Name[];

/** Whose rows: `A`, `B`, or `-` for those of nobody. */
type Allowed = Partial<Record<Name, string>>;
const MEMBERS: Allowed = { viewer: 'A', editor: 'A', neighbour: 'B', service: 'A B' };
const EDITORS: Allowed = { editor: 'A', service: 'A B' };
const SERVICE: Allowed = { service: 'A B' };
const OWN: Allowed = { viewer: 'A', neighbour: 'B' };
const NUMBERING: Allowed = Object.fromEntries(NAMES.map((name) => [name, '-']));

/** What may be done with which table. What is not said here is refused, or finds no row; of tables that come later, too. */
const MAY: Readonly<Record<string, Readonly<Record<string, Allowed>>>> = {
  'public.ventures': {
    SELECT: { ...MEMBERS, gateway: 'A B' },
    INSERT: SERVICE,
    'UPDATE venture_id, name': SERVICE,
    DELETE: SERVICE,
  },
  'public.venture_members': {
    SELECT: MEMBERS,
    INSERT: SERVICE,
    'UPDATE venture_id, user_id, role': SERVICE,
    DELETE: SERVICE,
  },
  'public.agent_executions': {
    SELECT: { ...MEMBERS, gateway: 'A B' },
    INSERT: EDITORS,
    'UPDATE status, stage_number, metadata': { editor: 'A' },
    'UPDATE execution_id, venture_id, status, stage_number, metadata, created_at, updated_at': SERVICE,
    DELETE: SERVICE,
  },
  'public.agent_execution_logs': {
    SELECT: { ...MEMBERS, gateway: 'A B' },
    INSERT: EDITORS,
    'UPDATE log_id, execution_id, event_type, log_level, stage_number, message, context, created_at, request_id, seq, tx':
      SERVICE,
    DELETE: SERVICE,
  },
  'public.execution_health_snapshots': { SELECT: MEMBERS },
  'public.execution_alerts': { SELECT: MEMBERS },
  'public.execution_metrics': {
    SELECT: MEMBERS,
    INSERT: EDITORS,
    'UPDATE metric_id, execution_id, metric_name, metric_value, recorded_at': SERVICE,
    DELETE: SERVICE,
  },
  'public.execution_audit': { SELECT: { ...MEMBERS, gateway: 'A B' } },
  'rowcast.messages': { SELECT: { service: '-', gateway: '-' }, INSERT: SERVICE },
  'rowcast.streams': { SELECT: NUMBERING },
  'rowcast.channels': { SELECT: { gateway: 'A B -' } },
  'rowcast.migrations': { SELECT: { gateway: '-' } },
  'rowcast.granted': { SELECT: { gateway: '-' } },
  'rowcast.extensions': { SELECT: NUMBERING },
  'rowcast.catalog': { SELECT: { gateway: '-' } },
  'rowcast.retention': { SELECT: { gateway: '-' } },
  'rowcast.tickets': { SELECT: { gateway: 'A' }, INSERT: { gateway: 'A B' }, DELETE: { gateway: 'A' } },
  'rowcast.idempotency_keys': { SELECT: OWN, INSERT: { viewer: 'A', neighbour: 'B' }, 'UPDATE answer': OWN },
};

/** A row of a tenant for each table that somebody may write to. */
const NEW: Readonly<Record<string, (of: Tenant) => Record<string, unknown>>> = {
  'public.ventures': ({ name }) => ({ name }),
  'public.venture_members': ({ venture }) => ({ venture_id: venture, user_id: 'another' }),
  'public.agent_executions': ({ venture }) => ({ venture_id: venture }),
  'public.agent_execution_logs': ({ execution }) => ({ execution_id: execution, message: 'x' }),
  'public.execution_metrics': ({ execution }) => ({ execution_id: execution, metric_name: 'x', metric_value: 1 }),
  'public.execution_audit': ({ venture, execution }) => ({
    venture_id: venture,
    execution_id: execution,
    event_type: 'created',
    actor: 'x',
    to_status: 'pending',
  }),
  'rowcast.messages': () => ({ key: 'lobby', event_type: 'x' }),
  'rowcast.tickets': ({ execution }) => ({
    hash: '\\x00',
    subject: 'x',
    role: 'authenticated',
    claims: execution,
    expires_at: 'now',
  }),
  'rowcast.idempotency_keys': ({ name }) => ({
    subject: name === 'A' ? 'viewer' : 'neighbour',
    key: 'another',
    fingerprint: '\\x00',
  }),
};

const REFUSED = '42501';

let database: TestDatabase;
let admin: pg.Client;
let a: Tenant;
let b: Tenant;

beforeAll(async () => {
  database = await createDatabase();
  admin = await connectWriter(database.url);
  a = await newTenant(admin, 'A');
  b = await newTenant(admin, 'B');
  await join(admin, a, 'viewer');
  await join(admin, a, 'editor', 'editor');
  await join(admin, b, 'neighbour');
  await admin.query(`
    INSERT INTO execution_metrics (execution_id, metric_name, metric_value)
      VALUES ('${a.execution}', 'tokens', 1), ('${b.execution}', 'tokens', 1);
    INSERT INTO execution_health_snapshots (execution_id, slot, score, word, reasons, told)
      VALUES ('${a.execution}', 1, 100, 'excellent', '[]', false), ('${b.execution}', 1, 100, 'excellent', '[]', false);
    INSERT INTO execution_alerts (execution_id, rule, episode)
      VALUES ('${a.execution}', 'failed', 1), ('${b.execution}', 'failed', 1);
    SELECT rowcast.publish('message:lobby', 'said'), rowcast.retain('execution', keep_rows => 1000);
    INSERT INTO rowcast.idempotency_keys VALUES ('viewer', '${a.execution}', ''), ('neighbour', '${b.execution}', '');
    INSERT INTO rowcast.tickets VALUES ('\\x01', 'viewer', 'authenticated', '${a.execution}', NULL, now())`);
});
afterEach(async () => {
  await admin.query('ROLLBACK'); // what a test that failed has left
});
afterAll(async () => {
  await admin.end();
  await database.drop();
});

interface Table {
  readonly name: string;
  readonly columns: readonly string[];
}

/** All that can be asked for rows, with the columns that can be given a value. */
async function tables(): Promise<Table[]> {
  const { rows } = await admin.query<Table>(`
    SELECT format('%I.%I', n.nspname, c.relname) AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE n.nspname IN ('public', 'rowcast') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
     GROUP BY 1 ORDER BY 1`);
  return rows;
}

/** The columns on which a role has a right. */
async function columnsFor(name: Name, right: string, { name: table, columns }: Table): Promise<string[]> {
  const { rows } = await admin.query<{ column: string }>(
    `SELECT c AS column FROM unnest($2::text[]) c WHERE has_column_privilege($1, $3, c, $4)`,
    [PRINCIPALS[name].role, columns, table, right],
  );
  return rows.map(({ column }) => column);
}

/** What a statement finds or writes as a principal: of whom the rows are, or the code of the refusal. Nothing of it stays. */
async function attempt(name: Name, statement: string, before = ''): Promise<string> {
  const { role, sub } = PRINCIPALS[name];
  const claims = pg.escapeLiteral(JSON.stringify({ sub, role }));
  try {
    await admin.query(`BEGIN; ${before};
      SELECT set_config('request.jwt.claims', ${claims}, true), set_config('role', '${role}', true)`);
    const { rows } = await admin.query<{ row: string }>(statement);
    const of = new Set(rows.map(({ row }) => (mentions(row, a) ? 'A' : mentions(row, b) ? 'B' : '-')));
    return [...of].sort((x, y) => 'AB-'.indexOf(x) - 'AB-'.indexOf(y)).join(' ');
  } catch (error) {
    const { code, message } = error as pg.DatabaseError;
    return code === REFUSED ? '' : `${code} ${message}`;
  } finally {
    await admin.query('ROLLBACK');
  }
}

const mentions = (row: string, { venture, execution }: Tenant) => row.includes(venture) || row.includes(execution);

/** Foreign keys and triggers are not asked: what may be deleted is a question of rights. */
const WITHOUT_TRIGGERS = 'SET LOCAL session_replication_role = replica';

async function actionsOn(name: Name, table: Table): Promise<Record<string, string>> {
  const readable = await columnsFor(name, 'SELECT', table);
  const shown = `concat_ws(' ', ${(readable.length > 0 ? readable : table.columns).map(pg.escapeIdentifier)}) AS row`;
  const done: Record<string, string> = { SELECT: await attempt(name, `SELECT ${shown} FROM ${table.name}`) };

  const inserted = await Promise.all(
    [a, b].map(async (of) => {
      const row = NEW[table.name]?.(of) ?? {};
      const names = Object.keys(row).map(pg.escapeIdentifier).join(', ');
      const values = Object.values(row).map((value) => pg.escapeLiteral(String(value)));
      const what = names === '' ? 'DEFAULT VALUES' : `(${names}) VALUES (${values})`;
      return { of: of.name, what };
    }),
  );
  const may: string[] = [];
  for (const { of, what } of inserted) {
    const statement = `WITH done AS (INSERT INTO ${table.name} ${what} RETURNING 1) SELECT '${of === 'A' ? a.venture : b.venture}' AS row FROM done`;
    may.push(await attempt(name, statement));
  }
  done.INSERT = may.filter((of) => of !== '').join(' ');

  const changeable = await columnsFor(name, 'UPDATE', table);
  const changes = (changeable.length > 0 ? changeable : table.columns)
    .map(pg.escapeIdentifier)
    .map((column) => `${column} = ${column}`);
  const changed = await attempt(name, `UPDATE ${table.name} SET ${changes} RETURNING ${shown}`, WITHOUT_TRIGGERS);
  done[`UPDATE ${changeable.join(', ')}`] = changed;
  done.DELETE = await attempt(name, `DELETE FROM ${table.name} RETURNING ${shown}`, WITHOUT_TRIGGERS);
  done.TRUNCATE = await attempt(name, `TRUNCATE ${table.name}`, WITHOUT_TRIGGERS);
  return done;
}

test('I5: each role does with each table what is said here, and nothing else', async () => {
  const found: Record<string, string> = {};
  for (const table of await tables()) {
    for (const name of NAMES) {
      for (const [action, what] of Object.entries(await actionsOn(name, table))) {
        if (what !== '') found[`${name}: ${action} ${table.name}`] = what;
      }
    }
  }
  const wanted = Object.entries(MAY).flatMap(([table, actions]) =>
    Object.entries(actions).flatMap(([action, allowed]) =>
      Object.entries(allowed).map(([name, whose]) => [`${name}: ${action} ${table}`, whose]),
    ),
  );
  expect(found).toEqual(Object.fromEntries(wanted));
});

test('I5: no role uses a sequence, creates an object in a schema, or puts a trigger on a table', async () => {
  const { rows } = await admin.query(
    `
    SELECT r.rolname, 'sequence ' || c.oid::regclass AS what FROM pg_class c, pg_roles r
     WHERE c.relkind = 'S' AND c.relnamespace IN ('public'::regnamespace, 'rowcast'::regnamespace) AND r.rolname = ANY ($1)
       AND has_sequence_privilege(r.rolname, c.oid, 'USAGE, SELECT, UPDATE')
    UNION ALL
    SELECT r.rolname, 'schema ' || n.nspname FROM pg_namespace n, pg_roles r
     WHERE n.nspname IN ('public', 'rowcast') AND r.rolname = ANY ($1) AND has_schema_privilege(r.rolname, n.oid, 'CREATE')
    UNION ALL
    SELECT r.rolname, 'trigger on ' || c.oid::regclass FROM pg_class c, pg_roles r
     WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace IN ('public'::regnamespace, 'rowcast'::regnamespace)
       AND r.rolname = ANY ($1) AND has_table_privilege(r.rolname, c.oid, 'TRIGGER, REFERENCES')`,
    [['anon', 'authenticated', 'service_role', 'rowcast_gateway']],
  );
  expect(rows).toEqual([]);
});

test('I5: of the functions that run with the rights of their owner a role may call those that are said here', async () => {
  await admin.query('CREATE TABLE public.later (key text NOT NULL)');
  await admin.query(`SELECT rowcast.attach('public.later', 'key')`);
  await admin.query('CREATE TABLE public.tracked (id int PRIMARY KEY, key int)');
  await admin.query(`SELECT rowcast.track('public.tracked', key => 'key')`);
  const { rows } = await admin.query<{ role: string; functions: string[] }>(`
    SELECT r.rolname AS role, array_agg(p.oid::regprocedure::text ORDER BY 1) AS functions FROM pg_proc p, pg_roles r
     WHERE p.pronamespace IN ('public'::regnamespace, 'rowcast'::regnamespace) AND p.prosecdef
       AND r.rolname IN ('anon', 'authenticated', 'service_role', 'rowcast_gateway')
       AND has_function_privilege(r.rolname, p.oid, 'EXECUTE')
     GROUP BY 1`);
  // `head_of` asks itself who calls it: see the next test.
  const users = [
    ...['rowcast.execution_exists(uuid)', 'rowcast.execution_floor(uuid)', 'rowcast.head_of(text)'],
    'rowcast.venture_exists(uuid)',
  ];
  expect(Object.fromEntries(rows.map(({ role, functions }) => [role, functions.sort()]))).toEqual({
    anon: users,
    authenticated: users,
    service_role: [
      ...[...users, 'rowcast.record_health(uuid,bigint,integer,text,jsonb,timestamp with time zone)'],
      ...['rowcast.judge_alerts(uuid[],jsonb)', 'rowcast.claim_alerts(integer)'],
      'rowcast.alert_told(uuid,text,integer,text)',
    ].sort(),
    rowcast_gateway: [
      ...['execution', 'later', 'message', 'tracked', 'venture'].map((stream) => `rowcast.${stream}_prune()`),
      ...['rowcast.head_of(text)', 'rowcast.renew_tracks()', 'rowcast.sweep(integer)'],
      'rowcast.tracked_rows(text,text,integer)',
    ].sort(),
  });
});

test('I5: how many events a channel has had is told to those that have a right to the stream', async () => {
  await admin.query(`
    CREATE TABLE public.hidden (id int PRIMARY KEY, key int); ALTER TABLE public.hidden ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON public.hidden TO authenticated USING (key = 1); GRANT SELECT ON public.hidden TO authenticated;
    CREATE TABLE public.shown (id int NOT NULL, key int NOT NULL); GRANT SELECT ON public.shown TO authenticated;
    CREATE TABLE public.closed (id int PRIMARY KEY, key int); SELECT rowcast.track('public.closed', key => 'key');
    SELECT rowcast.track('public.hidden', key => 'key'), rowcast.attach('public.shown', 'key', seq => 'n', tx => 't');
    INSERT INTO public.hidden VALUES (1, 1), (2, 2); INSERT INTO public.shown VALUES (1, 1)`);
  const told: Record<string, string> = {};
  for (const name of NAMES) {
    const heads = [];
    for (const channel of ['hidden:1', 'hidden:2', 'shown:1', 'closed:1', `execution:${a.execution}`]) {
      heads.push(await attempt(name, `SELECT rowcast.head_of('${channel}') AS row`));
    }
    told[name] = heads.map((head) => head || 'no').join(' ');
  }
  const user = '- - - no -';
  expect(told).toEqual({
    anon: 'no no no no no',
    stranger: user,
    viewer: user,
    editor: user,
    neighbour: user,
    service: '- - - - -',
    gateway: '- - - - -',
  });
});

test('I5: a trigger of Rowcast does nothing for the table of another owner', async () => {
  const { rows } = await admin.query<{ name: string }>(`
    SELECT p.oid::regprocedure::text AS name FROM pg_proc p
     WHERE p.pronamespace = 'rowcast'::regnamespace AND p.prosecdef AND p.prorettype = 'trigger'::regtype`);
  for (const { name } of rows) {
    await admin.query(`BEGIN; SET LOCAL ROLE ${PRINCIPALS.stranger.role};
      CREATE TEMP TABLE mine (execution_id uuid, venture_id uuid, status rowcast.execution_status, stage_number int)`);
    const hung = admin.query(`CREATE TRIGGER mine AFTER INSERT ON mine EXECUTE FUNCTION ${name}`).then(
      () => 'made',
      (error: pg.DatabaseError) => error.code,
    );
    expect([name, await hung]).toEqual([name, REFUSED]);
    await admin.query('ROLLBACK');
  }
});

test('I5: no role leads to one with more rights', async () => {
  const up = {
    anon: ['authenticated', 'service_role'],
    authenticated: ['anon', 'service_role'],
    service_role: ['anon', 'authenticated'],
  };
  for (const [role, others] of Object.entries(up)) {
    const login = `only_${role}_${new URL(database.url).pathname.slice(6)}`;
    await admin.query(`CREATE ROLE ${login} LOGIN IN ROLE ${role}`);
    for (const other of [...others, 'rowcast_gateway', 'postgres']) {
      await admin.query(`SET SESSION AUTHORIZATION ${login}`);
      await admin.query(`SET ROLE ${role}`);
      await admin.query(`SET request.jwt.claims = '{"sub":"viewer","role":"service_role"}'`);
      const become = admin.query(`SET ROLE ${other}`);
      await expect(become.then(() => `${role} became ${other}`)).rejects.toMatchObject({ code: REFUSED });
      await admin.query('RESET SESSION AUTHORIZATION; RESET ROLE; RESET request.jwt.claims');
    }
    await admin.query(`DROP ROLE ${login}`);
  }
});
