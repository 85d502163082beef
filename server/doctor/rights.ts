import { z } from 'zod';
import { GATEWAY_ROLE } from '../postgres/session.js';
import { type Check, fault, type Outcome, ok, warning } from './check.js';

const ROLES = ['anon', 'authenticated', 'service_role', GATEWAY_ROLE];

/** Whether a session of the first role may SET ROLE to the second; before PostgreSQL 16 every member may. */
const mayBecome = (member: string, role: string) => `pg_has_role(${member}, ${role},
  CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)`;

const login = z.object({
  name: z.string(),
  superuser: z.boolean(),
  /** Tables of streams. */
  owns: z.array(z.string()),
  /** Roles of Rowcast that the cluster does not have. */
  unmade: z.array(z.string()),
});

/** From what every login may read: one that may not become the gateway may not read the list of streams either. */
const LOGIN = `
  SELECT quote_ident(current_user) AS name, r.rolsuper AS superuser,
         ARRAY(SELECT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                WHERE t.tgname = 'zz_rowcast_number' AND NOT c.relispartition AND pg_has_role(r.oid, c.relowner, 'USAGE')
                ORDER BY 1) AS owns,
         ARRAY(SELECT w FROM unnest($1::text[]) w WHERE to_regrole(w) IS NULL) AS unmade
    FROM pg_roles r WHERE r.rolname = current_user`;

const granted = z.object({ member: z.boolean(), missing: z.array(z.string()) });

/** Whether the login may be the gateway; and what the migrations grant and is not there, as statements. */
const GRANTED = `
  SELECT ${mayBecome('current_user', `'${GATEWAY_ROLE}'`)} AS member, ARRAY(
    SELECT format('GRANT %I TO ${GATEWAY_ROLE};', r) FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) r
     WHERE NOT ${mayBecome(`'${GATEWAY_ROLE}'`, 'r')}
    UNION ALL
    SELECT format('GRANT USAGE ON SCHEMA rowcast TO %I;', r) FROM unnest($1::text[]) r
     WHERE NOT has_schema_privilege(r, 'rowcast', 'USAGE')
    UNION ALL
    SELECT format('GRANT %s ON rowcast.%I TO ${GATEWAY_ROLE};', privilege, c.relname)
      FROM (VALUES ('streams', 'SELECT'), ('channels', 'SELECT'), ('catalog', 'SELECT'), ('retention', 'SELECT'), ('migrations', 'SELECT'),
                   ('tickets', 'SELECT'), ('tickets', 'INSERT'), ('tickets', 'DELETE')) w (relation, privilege)
      JOIN pg_class c ON c.relname = w.relation AND c.relnamespace = 'rowcast'::regnamespace
     WHERE NOT has_table_privilege('${GATEWAY_ROLE}', c.oid, privilege)
    UNION ALL
    SELECT format('GRANT EXECUTE ON FUNCTION %s TO ${GATEWAY_ROLE};', p.oid::regprocedure)
      FROM pg_proc p WHERE p.pronamespace = 'rowcast'::regnamespace AND p.proname IN ('decide', 'prune_by_policy', 'sweep')
       AND NOT has_function_privilege('${GATEWAY_ROLE}', p.oid, 'EXECUTE')
  ) AS missing`;

/** What the login and its sessions may do in the schema; their rights on the tables are a matter of each stream. */
export const rights: Check = {
  name: 'rights',
  async run(probe) {
    const { name, superuser, owns, unmade } = await probe.readOne(login, LOGIN, [ROLES]);
    if (unmade.length > 0) {
      const make = unmade.map((role) => `CREATE ROLE ${role} NOLOGIN NOINHERIT;`).join(' ');
      return fault(
        `there is no role ${unmade.join(', ')}`,
        `${make} Then npx rowcast migrate; or, if a dump was restored without them, restore it again.`,
      );
    }
    const { member, missing } = await probe.readOne(granted, GRANTED, [ROLES]);
    const wrong: Outcome[] = [];
    if (!member) {
      const found = `${name} may not become ${GATEWAY_ROLE}: no gateway can start with it`;
      wrong.push(fault(found, `GRANT ${GATEWAY_ROLE} TO ${name};`));
    }
    if (missing.length > 0) {
      const what = missing.map((grant) => grant.replace(/^GRANT /, '').replace(/;$/, '')).join(', ');
      wrong.push(fault(`what the migrations granted is gone: ${what}`, missing.join(' ')));
    }
    if (wrong.length > 0) return wrong;
    const also = superuser ? ', a superuser,' : owns.length > 0 ? `, who owns ${owns.join(', ')},` : '';
    return ok(`logs in as ${name}${also} and reads and writes as ${GATEWAY_ROLE}`);
  },
};

const pruned = z.object({
  name: z.string(),
  relation: z.string(),
  owner: z.string(),
  pruner: z.string(),
  seesAll: z.boolean(),
  missing: z.array(z.string()),
});

/** A gateway may only ask for it: rows are deleted with the rights of whoever owns the function. */
const PRUNED = `
  SELECT s.name, c.oid::regclass::text AS relation, quote_ident(t.rolname) AS owner, quote_ident(o.rolname) AS pruner,
         NOT c.relrowsecurity OR o.rolsuper OR o.rolbypassrls OR pg_has_role(o.oid, c.relowner, 'USAGE') AS "seesAll",
         ARRAY(
           SELECT privilege FROM unnest(ARRAY['SELECT', 'DELETE', 'UPDATE']) privilege
            WHERE NOT CASE privilege WHEN 'UPDATE' THEN has_any_column_privilege(o.oid, c.oid, privilege)
              ELSE has_table_privilege(o.oid, c.oid, privilege) END) AS missing
    FROM rowcast.retention r JOIN rowcast.streams s USING (stream_id) JOIN pg_class c ON c.oid = s.relation
    JOIN pg_roles t ON t.oid = c.relowner
    JOIN pg_proc p ON p.pronamespace = 'rowcast'::regnamespace AND p.proname = 'prune_by_policy'
    JOIN pg_roles o ON o.oid = p.proowner
   WHERE r.keep IS NOT NULL OR r.keep_rows IS NOT NULL ORDER BY s.name`;

export const retention: Check = {
  name: 'retention',
  async run(probe) {
    const streams = await probe.readAsGateway(pruned, PRUNED);
    if (streams.length === 0) return ok('no stream has a policy: everything is kept');
    const outcomes = streams.flatMap(({ name, relation, owner, pruner, seesAll, missing }): Outcome[] => {
      const fix = `GRANT ${owner} TO ${pruner};`;
      if (missing.length > 0)
        return [warning(`${name} is not pruned: ${pruner} lacks ${missing.join(', ')} on ${relation}`, fix)];
      if (seesAll) return [];
      return [warning(`${name} is not pruned: row-level security hides rows of ${relation} from ${pruner}`, fix)];
    });
    return outcomes.length > 0 ? outcomes : ok(`gateways prune ${streams.map(({ name }) => name).join(', ')}`);
  },
};
