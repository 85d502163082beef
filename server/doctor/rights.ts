/**
 * Checks the rights of the login and of the roles of Rowcast: `rights` compares them with what the migrations granted, and
 * `retention` checks whether the streams that have a policy can be pruned.
 */
import { z } from 'zod';
import { CORE_ROLES, GRANTS, ROLES } from '../postgres/grants.js';
import { GATEWAY_ROLE } from '../postgres/session.js';
import { type Check, fault, type Outcome, ok, warning } from './check.js';

/** SQL: whether a session of the first role may SET ROLE to the second. Before PostgreSQL 16 every member may. */
const mayBecome = (member: string, role: string) => `pg_has_role(${member}, ${role},
  CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)`;

const login = z.object({
  name: z.string(),
  superuser: z.boolean(),
  /** Tables of streams that the login owns. */
  owns: z.array(z.string()),
  /** Roles of the core that do not exist. */
  unmade: z.array(z.string()),
});

/** Reads system catalogs only: a login that may not SET ROLE to the gateway may not read `rowcast.streams`. */
const LOGIN = `
  SELECT quote_ident(current_user) AS name, r.rolsuper AS superuser,
         ARRAY(SELECT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                WHERE t.tgname = 'zz_rowcast_keep' AND NOT c.relispartition AND pg_has_role(r.oid, c.relowner, 'USAGE')
                ORDER BY 1) AS owns,
         ARRAY(SELECT w FROM unnest($1::text[]) w WHERE to_regrole(w) IS NULL) AS unmade
    FROM pg_roles r WHERE r.rolname = current_user`;

const roles = z.object({ member: z.boolean(), missing: z.array(z.string()) });

/**
 * Whether the login may SET ROLE to the gateway, and the GRANT statements that are needed before the gateway can read the
 * list of rights. It reads system catalogs only, which every login may.
 */
const ROLE_RIGHTS = `
  SELECT ${mayBecome('current_user', `'${GATEWAY_ROLE}'`)} AS member, ARRAY(
    SELECT format('GRANT %I TO ${GATEWAY_ROLE};', r) FROM unnest(ARRAY['anon', 'authenticated', 'service_role']) r
     WHERE NOT ${mayBecome(`'${GATEWAY_ROLE}'`, 'r')}
    UNION ALL
    SELECT 'GRANT USAGE ON SCHEMA rowcast TO ${GATEWAY_ROLE};'
     WHERE NOT has_schema_privilege('${GATEWAY_ROLE}', 'rowcast', 'USAGE')
    UNION ALL
    SELECT 'GRANT SELECT ON rowcast.granted, rowcast.streams TO ${GATEWAY_ROLE};' FROM pg_class c
     WHERE c.relnamespace = 'rowcast'::regnamespace AND c.relname IN ('granted', 'streams')
       AND NOT has_table_privilege('${GATEWAY_ROLE}', c.oid, 'SELECT')
     LIMIT 1) AS missing`;

const statement = z.object({ statement: z.string() });

/** The rights in the schema rowcast that the migrations granted and that are missing. The check `streams` covers those on the tables of streams. */
const GONE = `
  SELECT format('GRANT %s ON %s TO %s;', g.privilege, g.object, g.grantee) AS statement FROM (
      SELECT schema, object, privilege, grantee FROM rowcast.granted EXCEPT (${GRANTS})) g
   WHERE g.schema = 'rowcast' AND NOT (g.grantee = '${GATEWAY_ROLE}' AND g.object IN (
     SELECT format('%I.%I', n.nspname, c.relname) FROM rowcast.streams s
       JOIN pg_class c ON c.oid = s.relation JOIN pg_namespace n ON n.oid = c.relnamespace))
   ORDER BY 1`;

/** The rights of the login and its sessions in the schema. The check `streams` covers those on the tables of streams. */
export const rights: Check = {
  name: 'rights',
  async run(probe) {
    const { name, superuser, owns, unmade } = await probe.readOne(login, LOGIN, [CORE_ROLES]);
    if (unmade.length > 0) {
      const make = unmade.map((role) => `CREATE ROLE ${role} NOLOGIN NOINHERIT;`).join(' ');
      return fault(
        `there is no role ${unmade.join(', ')}`,
        `${make} Then npx rowcast migrate; or, if a dump was restored without them, restore it again.`,
      );
    }
    const { member, missing } = await probe.readOne(roles, ROLE_RIGHTS);
    const wrong: Outcome[] = [];
    if (!member) {
      const found = `${name} may not SET ROLE to ${GATEWAY_ROLE}: no gateway can start with it`;
      wrong.push(fault(found, `GRANT ${GATEWAY_ROLE} TO ${name};`));
    } else if (missing.length === 0) {
      missing.push(...(await probe.readAsGateway(statement, GONE, [ROLES])).map((gone) => gone.statement));
    }
    if (missing.length > 0) {
      const what = missing.map((grant) => grant.replace(/^GRANT /, '').replace(/;$/, '')).join(', ');
      wrong.push(fault(`rights that the migrations granted are missing: ${what}`, missing.join(' ')));
    }
    if (wrong.length > 0) return wrong;
    const also = superuser ? ', a superuser,' : owns.length > 0 ? `, the owner of ${owns.join(', ')},` : '';
    return ok(`logs in as ${name}${also} and reads and writes as ${GATEWAY_ROLE}`);
  },
};

const pruned = z.object({
  name: z.string(),
  relation: z.string(),
  key: z.string(),
  owner: z.string(),
  pruner: z.string(),
});

/** Rows are deleted with the rights of the owner of the function `<name>_prune`; a gateway only calls it. */
const PRUNED = `
  SELECT s.name, c.oid::regclass::text AS relation, s.key_column AS key, quote_ident(t.rolname) AS owner,
         quote_ident(o.rolname) AS pruner
    FROM rowcast.retention r JOIN rowcast.streams s USING (stream_id) JOIN pg_class c ON c.oid = s.relation
    JOIN pg_roles t ON t.oid = c.relowner
    JOIN pg_proc p ON p.pronamespace = 'rowcast'::regnamespace AND p.proname = s.name || '_prune'
    JOIN pg_roles o ON o.oid = p.proowner
   WHERE r.keep IS NOT NULL OR r.keep_rows IS NOT NULL ORDER BY s.name`;

export const retention: Check = {
  name: 'retention',
  async run(probe) {
    const streams = await probe.readAsGateway(pruned, PRUNED);
    if (streams.length === 0) return ok('no stream has a policy: everything is kept');
    const outcomes = streams.flatMap(({ name, relation, key, owner, pruner }): Outcome[] => {
      if (owner === pruner) return [];
      const found = `${name} is not pruned: ${relation} belongs to ${owner}, and its functions to ${pruner}`;
      return [warning(found, `SELECT rowcast.attach('${relation}', '${key}');`)];
    });
    return outcomes.length > 0 ? outcomes : ok(`gateways prune ${streams.map(({ name }) => name).join(', ')}`);
  },
};
