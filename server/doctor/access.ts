/**
 * The check `access`: reports which roles can read each stream, and finds roles with too many rights, guards that are
 * missing or not executable, and access functions that are out of date.
 */
import { z } from 'zod';
import { GATEWAY_ROLE } from '../postgres/session.js';
import { type Check, fault, type Outcome, ok, warning } from './check.js';
import { appliesTo, seesAll } from './privileges.js';
import { attachAgain } from './streams.js';

/** Which keys of a stream a role can see. */
const sight = z.enum(['nothing', 'some', 'all']);

const stream = z.object({
  name: z.string(),
  relation: z.string(),
  key: z.string(),
  owner: z.string(),
  tracked: z.boolean(),
  /** The table whose policies decide access: the one that the key refers to, or that of the stream, or the tracked one. */
  policyTable: z.string(),
  guard: z.string().nullable(),
  guardIsThere: z.boolean(),
  guardIsOpen: z.boolean().nullable(),
  /** Whether the access function exists and is the one that `attach` would create now. */
  decides: z.boolean().nullable(),
  users: sight,
  anonymous: sight,
});
type Facts = z.infer<typeof stream>;

/** A tracked table without a key is one channel, for roles that see all of its rows. */
const sightOf = (role: string) => `CASE
  WHEN x.key IS NULL THEN CASE WHEN has_schema_privilege('${role}', a.relnamespace, 'USAGE') AND has_table_privilege('${role}', a.oid, 'SELECT')
    AND ${seesAll(`'${role}'`, 'a')} THEN 'all' ELSE 'nothing' END
  WHEN NOT (has_schema_privilege('${role}', a.relnamespace, 'USAGE') AND has_column_privilege('${role}', a.oid, x.key, 'SELECT')) THEN 'nothing'
  WHEN ${seesAll(`'${role}'`, 'a')} THEN 'all'
  WHEN EXISTS (SELECT FROM pg_policy p WHERE p.polpermissive AND ${appliesTo(`'${role}'`, 'a')}) THEN 'some'
  ELSE 'nothing' END`;

/** Streams whose tables and keys exist. The checks `streams` and `tracks` report the others. */
const STREAMS = `
  SELECT s.name, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation, quote_ident(s.key_column) AS key,
         quote_ident(o.rolname) AS owner, src.relation <> s.relation AS tracked, x.policy_table AS "policyTable", s.guard, g.oid IS NOT NULL AS "guardIsThere",
         has_schema_privilege('authenticated', g.pronamespace, 'USAGE')
           AND has_function_privilege('authenticated', g.oid, 'EXECUTE') AS "guardIsOpen",
         position(coalesce(s.guard || '($1)', CASE WHEN x.key IS NULL THEN format('NOT pg_catalog.row_security_active(%L', x.policy_table) END, format('EXISTS (SELECT FROM %s t WHERE t.%I OPERATOR(pg_catalog.=) $1::pg_catalog.%I',
           x.policy_table, x.key, kt.typname)) IN f.prosrc) > 0 AS decides,
         ${sightOf('authenticated')} AS users, ${sightOf('anon')} AS anonymous
    FROM rowcast.streams s
    JOIN pg_class c ON c.oid = s.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_roles o ON o.oid = c.relowner
    JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = s.key_column
    JOIN pg_type kt ON kt.oid = k.atttypid
    CROSS JOIN LATERAL rowcast.source_of(s) src
    LEFT JOIN rowcast.parent_of(src) r ON true
    JOIN pg_class a ON a.oid = coalesce(r.relation, src.relation)
    JOIN pg_namespace m ON m.oid = a.relnamespace
    CROSS JOIN LATERAL (SELECT quote_ident(m.nspname) || '.' || quote_ident(a.relname) AS policy_table,
                               coalesce(r.key, src.key_column) AS key) x
    LEFT JOIN pg_proc f ON f.pronamespace = 'rowcast'::regnamespace AND f.proname = s.name || '_can_read'
    LEFT JOIN (pg_proc g JOIN pg_namespace gn ON gn.oid = g.pronamespace)
      ON quote_ident(gn.nspname) || '.' || quote_ident(g.proname) = s.guard
         AND g.prorettype = 'boolean'::regtype AND g.proargtypes = ARRAY['text'::regtype]::oidvector
   WHERE src.key_column IS NULL OR EXISTS (
     SELECT FROM pg_attribute d WHERE d.attrelid = src.relation AND d.attname = src.key_column AND NOT d.attisdropped)
   ORDER BY s.stream_id`;

const privileged = z.object({ role: z.string(), above: z.boolean(), service: z.boolean() });

/** Rights that would bypass every policy. */
const PRIVILEGED = `
  SELECT r.rolname AS role, r.rolsuper OR r.rolbypassrls AS above, pg_has_role(r.oid, 'service_role', 'USAGE') AS service
    FROM pg_roles r WHERE r.rolname IN ('anon', 'authenticated', '${GATEWAY_ROLE}') ORDER BY 1`;

/** One outcome for each stream, and for each role with too many rights. */
export const access: Check = {
  name: 'access',
  async run(probe) {
    const roles = await probe.readAsGateway(privileged, PRIVILEGED);
    const streams = await probe.readAsGateway(stream, STREAMS);
    return [...roles.flatMap(tooMuch), ...streams.map(readersOf)];
  },
};

function tooMuch({ role, above, service }: z.infer<typeof privileged>): Outcome[] {
  if (above) {
    const found = `no policy applies to ${role}, which is a superuser or has BYPASSRLS`;
    return [fault(found, `ALTER ROLE ${role} NOSUPERUSER NOBYPASSRLS;`)];
  }
  if (!service) return [];
  if (role === GATEWAY_ROLE) {
    const found = `${role} inherits the rights of service_role: it should only be able to SET ROLE to it`;
    return [
      warning(found, `REVOKE service_role FROM ${role}; ALTER ROLE ${role} NOINHERIT; GRANT service_role TO ${role};`),
    ];
  }
  return [
    fault(
      `${role} is a member of service_role, and therefore can read every channel`,
      `REVOKE service_role FROM ${role};`,
    ),
  ];
}

function readersOf({ name, policyTable, guard, guardIsThere, guardIsOpen, decides, ...facts }: Facts): Outcome {
  if (guard !== null && !guardIsThere) {
    const fix = `Create it again, or remove the guard: SELECT rowcast.guard('${name}', NULL);`;
    return fault(`${name}: there is no function ${guard}(text) that returns a boolean, so no user may read it`, fix);
  }
  if (!decides) {
    const found = `${name}: its access function is missing or out of date: users may be refused or admitted wrongly`;
    const again = `SELECT rowcast.make_access(s) FROM rowcast.streams s WHERE s.name = '${name}';`;
    return fault(found, facts.tracked ? again : attachAgain(facts));
  }
  if (guard !== null && !guardIsOpen) {
    const [schema] = guard.split(/\.(?=[^.]+$)/);
    const fix = `GRANT USAGE ON SCHEMA ${schema} TO authenticated; GRANT EXECUTE ON FUNCTION ${guard}(text) TO authenticated;`;
    return warning(`${name} can be read by services only: users may not execute its guard ${guard}`, fix);
  }
  const by = guard === null ? `according to the policies of ${policyTable}` : `according to ${guard}`;
  return ok(
    `${name} can be read by services${others(guard === null ? facts : { users: 'some', anonymous: 'nothing' }, by)}`,
  );
}

function others({ users, anonymous }: Pick<Facts, 'users' | 'anonymous'>, by: string): string {
  if (anonymous === 'all') return ', and by everyone, also without a token';
  const signedIn = { nothing: '', some: `, and by users ${by}`, all: ', and by every user' }[users];
  const without = anonymous === 'some' ? `, and without a token ${by}` : '';
  return signedIn + without || ' only';
}
