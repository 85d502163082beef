/** The roles that the core makes; those of extensions exist only where these are installed. */
export const CORE_ROLES = ['anon', 'authenticated', 'service_role', 'rowcast_gateway'] as const;

/** The roles that Rowcast grants rights to. */
export const ROLES = [...CORE_ROLES, 'agent_worker'] as const;

/**
 * Selects the rights that were granted to the roles in $1 in this database, and the memberships of and in the gateway role, whose
 * privilege is empty. Objects are written as in GRANT, schema-qualified, as in `rowcast.granted`. Without the functions that
 * `attach` makes for a stream, which go with it.
 */
export const GRANTS = `
  SELECT DISTINCT g.schema, g.object, g.privilege, r.rolname AS grantee FROM (
    SELECT n.nspname AS schema, 'SCHEMA ' || quote_ident(n.nspname) AS object, a.privilege_type AS privilege, a.grantee
      FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a
    UNION ALL
    SELECT n.nspname, format('%I.%I', n.nspname, c.relname), a.privilege_type, a.grantee
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN aclexplode(c.relacl) a
    UNION ALL
    SELECT n.nspname, format('%I.%I', n.nspname, c.relname), format('%s (%I)', a.privilege_type, k.attname), a.grantee
      FROM pg_attribute k JOIN pg_class c ON c.oid = k.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN aclexplode(k.attacl) a WHERE NOT k.attisdropped
    UNION ALL
    SELECT n.nspname, format('FUNCTION %I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           a.privilege_type, a.grantee
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN aclexplode(p.proacl) a
     WHERE n.nspname <> 'rowcast' OR p.proname !~ '_(prune|newest)$') g
    JOIN pg_roles r ON r.oid = g.grantee WHERE r.rolname = ANY ($1)
  UNION
  SELECT '', quote_ident(r.rolname), '', quote_ident(m.rolname)
    FROM pg_auth_members b JOIN pg_roles r ON r.oid = b.roleid JOIN pg_roles m ON m.oid = b.member
   WHERE 'rowcast_gateway' IN (r.rolname, m.rolname)`;
