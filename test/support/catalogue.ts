import type pg from 'pg';

/** What PostgreSQL itself and its temporary and TOAST tables bring; `n` is the namespace. */
const OWN = `n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'`;

/** Rights as they hold: a table without a list has the default one. */
const rights = (acl: string, kind: string, owner: string) => `(
  SELECT string_agg(format('%s %s%s by %s', coalesce(g.rolname, 'public'), a.privilege_type, CASE WHEN a.is_grantable THEN '*' END, b.rolname), ', '
                    ORDER BY g.rolname, a.privilege_type, b.rolname)
    FROM aclexplode(coalesce(${acl}, acldefault('${kind}', ${owner}))) a
    LEFT JOIN pg_roles g ON g.oid = a.grantee LEFT JOIN pg_roles b ON b.oid = a.grantor)`;

const CATALOGUE = `
  SELECT line FROM (
    SELECT format('schema %s of %s: %s', n.nspname, n.nspowner::regrole, ${rights('n.nspacl', 'n', 'n.nspowner')}) AS line
      FROM pg_namespace n WHERE ${OWN}
    UNION ALL
    SELECT format('relation %s, kind %s%s, of %s, identity %s, row-level security %s %s, options %s: %s', c.oid::regclass, c.relkind,
                  c.relpersistence, c.relowner::regrole, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
                  ${rights('c.relacl', 'r', 'c.relowner')})
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OWN}
    UNION ALL
    SELECT format('column %s.%s %s, not null %s, default %s, identity %s%s: %s', c.oid::regclass, a.attname,
                  format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
                  ${rights('a.attacl', 'c', 'c.relowner')})
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE ${OWN} AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT format('index %s', pg_get_indexdef(i.indexrelid)) FROM pg_index i
      JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OWN}
    UNION ALL
    SELECT format('constraint %s on %s: %s', o.conname, o.conrelid::regclass, pg_get_constraintdef(o.oid)) FROM pg_constraint o
      JOIN pg_namespace n ON n.oid = o.connamespace WHERE ${OWN}
    UNION ALL
    SELECT format('function %s of %s: %s', pg_get_functiondef(p.oid), p.proowner::regrole, ${rights('p.proacl', 'f', 'p.proowner')})
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${OWN} AND p.prokind IN ('f', 'p')
    UNION ALL
    SELECT format('trigger %s, enabled %s', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t
      JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OWN} AND NOT t.tgisinternal
    UNION ALL
    SELECT format('policy %s on %s.%s: %s %s to %s using %s check %s', p.policyname, p.schemaname, p.tablename, p.permissive, p.cmd,
                  p.roles, p.qual, p.with_check) FROM pg_policies p
    UNION ALL
    SELECT format('type %s, kind %s, of %s, labels %s: %s', t.oid::regtype, t.typtype, t.typowner::regrole,
                  (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
                  ${rights('t.typacl', 'T', 't.typowner')})
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE ${OWN}
    UNION ALL
    SELECT format('role %s, login %s, inherit %s, superuser %s, createrole %s, bypass %s, member of %s, comment %s', r.rolname,
                  r.rolcanlogin, r.rolinherit, r.rolsuper, r.rolcreaterole, r.rolbypassrls,
                  (SELECT string_agg(format('%s%s by %s', m.roleid::regrole, CASE WHEN m.admin_option THEN '*' END, m.grantor::regrole), ', '
                                     ORDER BY m.roleid::regrole::text, m.grantor::regrole::text)
                     FROM pg_auth_members m WHERE m.member = r.oid),
                  shobj_description(r.oid, 'pg_authid'))
      FROM pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%'
  ) lines ORDER BY line COLLATE "C"`;

/** Everything that the catalogs say of a database and the roles of its cluster, as lines that can be compared. */
export async function catalogueOf(client: pg.Client): Promise<string[]> {
  await client.query('BEGIN; SET LOCAL search_path = pg_catalog');
  const { rows } = await client.query<{ line: string }>(CATALOGUE);
  await client.query('COMMIT');
  return rows.map(({ line }) => line);
}
