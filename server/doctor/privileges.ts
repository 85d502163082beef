/** SQL: whether row-level security hides no row of the table `t` from the role. */
export const seesAll = (role: string, t = 'c') => `(NOT ${t}.relrowsecurity
  OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ${role}
       AND (r.rolsuper OR r.rolbypassrls OR pg_has_role(r.oid, ${t}.relowner, 'USAGE')))
  OR (EXISTS (SELECT FROM pg_policy p WHERE p.polpermissive AND ${appliesTo(role, t)}
                AND pg_get_expr(p.polqual, p.polrelid) = 'true')
      AND NOT EXISTS (SELECT FROM pg_policy p WHERE NOT p.polpermissive AND ${appliesTo(role, t)})))`;

/** SQL: whether the policy `p` applies to reads of the table `t` by the role. */
export const appliesTo = (role: string, t: string) => `p.polrelid = ${t}.oid AND p.polcmd IN ('r', '*')
  AND EXISTS (SELECT FROM unnest(p.polroles) m WHERE m = 0 OR pg_has_role(${role}, m, 'USAGE'))`;

/** SQL: the GRANT statements for those rights of VALUES (privilege, is_schema, object) that the role does not have. */
export const lacks = (role: string, values: string) => `ARRAY(
  SELECT format('GRANT %s ON %s TO %I;', w.privilege, CASE WHEN w.is_schema THEN 'SCHEMA ' ELSE '' END || w.object, ${role}::text)
    FROM (VALUES ${values}) AS w (privilege, is_schema, object)
   WHERE NOT CASE WHEN w.is_schema THEN has_schema_privilege(${role}, trim('"' FROM w.object), w.privilege)
                  ELSE has_table_privilege(${role}, w.object, w.privilege) END)`;
