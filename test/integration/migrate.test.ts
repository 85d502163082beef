import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { MigrationChanged, migrate } from '../../server/postgres/migrate.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
let admin: pg.Client;

beforeAll(async () => {
  database = await createDatabase();
  admin = await connectWriter(database.url);
});
afterAll(async () => {
  await admin.end();
  await database.drop();
});

test('many at once: each migration runs once, and a second run does nothing', async () => {
  await admin.query('CREATE DATABASE empty TEMPLATE template0');
  const url = new URL('/empty', clusters()[0]?.url).href;
  const ran = await Promise.all([migrate(url), migrate(url), migrate(url), migrate(url)]);
  expect(ran.filter((names) => names.length > 0)).toHaveLength(1);
  expect(ran.flat()[0]).toBe('core/01-installation.sql');
  expect(await migrate(url)).toEqual([]);
  await admin.query('DROP DATABASE empty');
});

test('a migration that was edited after it ran is refused', async () => {
  await admin.query('CREATE TEMP TABLE checksums AS SELECT * FROM rowcast.migrations');
  await admin.query(`UPDATE rowcast.migrations SET checksum = 'x' WHERE name = 'core/04-doorbell.sql'`);
  await expect(migrate(database.url)).rejects.toThrow(MigrationChanged);
  await admin.query(`UPDATE rowcast.migrations m SET checksum = t.checksum FROM checksums t WHERE t.name = m.name`);
});

/** What the schema is made of, in lines. */
async function schemaLines(): Promise<string[]> {
  const { rows } = await admin.query<{ line: string }>(`
    SELECT line FROM (
      SELECT format('table %s.%s: %s %s%s', table_schema, table_name, column_name, udt_name,
                    CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END) AS line
        FROM information_schema.columns WHERE table_schema IN ('public', 'rowcast')
      UNION ALL
      SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname IN ('public', 'rowcast')
      UNION ALL
      SELECT format('constraint %s: %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace IN ('public'::regnamespace, 'rowcast'::regnamespace) AND contype IN ('p', 'u', 'f', 'c')
      UNION ALL
      SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
      UNION ALL
      SELECT format('function %s%s', oid::regprocedure, CASE WHEN prosecdef THEN ' security definer' ELSE '' END)
        FROM pg_proc WHERE pronamespace = 'rowcast'::regnamespace
      UNION ALL
      SELECT format('type %s: %s', t.oid::regtype, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder))
        FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.oid
      UNION ALL
      SELECT format('row-level security of %s.%s: %s', n.nspname, c.relname,
                    CASE WHEN c.relforcerowsecurity THEN 'forced' WHEN c.relrowsecurity THEN 'on' ELSE 'off' END)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('public', 'rowcast') AND c.relkind IN ('r', 'p')
      UNION ALL
      SELECT format('policy %s on %s.%s: %s %s to %s%s%s', policyname, schemaname, tablename, lower(permissive), lower(cmd),
                    array_to_string(roles, ', '), ' using ' || squeezed.using, ' check ' || squeezed.check)
        FROM pg_policies, LATERAL (SELECT regexp_replace(qual, '\\s+', ' ', 'g') AS using,
                                          regexp_replace(with_check, '\\s+', ' ', 'g') AS check) squeezed
      UNION ALL
      SELECT format('grant %s on %s to %s', string_agg(lower(g.privilege_type), ', ' ORDER BY g.privilege_type), of.object,
                    coalesce(r.rolname, 'public'))
        FROM (SELECT format('schema %s', nspname) AS object, coalesce(nspacl, acldefault('n', nspowner)) AS acl, nspowner AS owner
                FROM pg_namespace WHERE nspname = 'rowcast'
              UNION ALL
              SELECT format('table %s', c.oid::regclass), coalesce(relacl, acldefault('r', relowner)), relowner
                FROM pg_class c WHERE relnamespace IN ('public'::regnamespace, 'rowcast'::regnamespace) AND relkind IN ('r', 'p')
              UNION ALL
              SELECT format('column %s.%s', attrelid::regclass, attname), attacl, 0::oid FROM pg_attribute WHERE attacl IS NOT NULL
                 AND (attrelid::regclass::text ~ '^rowcast.' OR attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace))
              UNION ALL
              SELECT format('function %s', p.oid::regprocedure), coalesce(proacl, acldefault('f', proowner)), proowner
                FROM pg_proc p WHERE pronamespace = 'rowcast'::regnamespace AND proacl IS NOT NULL) of,
             aclexplode(of.acl) g LEFT JOIN pg_roles r ON r.oid = g.grantee
        WHERE g.grantee <> of.owner GROUP BY of.object, g.grantee, r.rolname
      UNION ALL
      SELECT format('role %s%s%s%s, may become %s', rolname, CASE WHEN rolcanlogin THEN ' login' ELSE '' END,
                    CASE WHEN rolinherit THEN ' inherit' ELSE '' END, CASE WHEN rolsuper OR rolbypassrls THEN ' all' ELSE '' END,
                    coalesce((SELECT string_agg(g.rolname, ', ' ORDER BY g.rolname) FROM pg_auth_members m
                               JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid), 'nobody'))
        FROM pg_roles r WHERE rolname IN ('anon', 'authenticated', 'service_role', 'agent_worker', 'rowcast_gateway')
    ) lines ORDER BY line COLLATE "C"`);
  return rows.map(({ line }) => line);
}

async function functions(): Promise<string[]> {
  const { rows } = await admin.query<{ definition: string }>(
    `SELECT pg_get_functiondef(p.oid) AS definition FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname IN ('public', 'rowcast') ORDER BY p.proname COLLATE "C"`,
  );
  return rows.map(({ definition }) => definition.trim());
}

test('the schema is the one that was reviewed', async () => {
  expect((await schemaLines()).join('\n')).toMatchSnapshot();
});

test('the functions are those that were reviewed', async () => {
  expect((await functions()).join('\n\n')).toMatchSnapshot();
});

test('what the engine adds is what was reviewed, and it changes nothing else', async () => {
  const before = new Set([...(await schemaLines()), ...(await functions())]);
  await migrate(database.url, { with: ['engine'] });
  const lines = await schemaLines();
  const after = new Set([...lines, ...(await functions())]);
  expect([...before].filter((line) => !after.has(line))).toEqual([]);
  expect(lines.filter((line) => !before.has(line)).join('\n')).toMatchSnapshot();
});

test('SECURITY DEFINER functions all pin their search path', async () => {
  const { rows } = await admin.query(
    `SELECT oid::regprocedure::text AS name FROM pg_proc WHERE pronamespace = 'rowcast'::regnamespace AND prosecdef
       AND NOT coalesce(proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp']`,
  );
  expect(rows).toEqual([]);
});
