-- The roles, as PostgREST and Supabase have them: a request runs as `anon` (no token), `authenticated` (a user) or
-- `service_role` (a service that is trusted with everything), with the claims of its token in the setting
-- request.jwt.claims. The sessions of a gateway are `rowcast_gateway`. It is NOINHERIT: it may become the other three,
-- and has none of their rights itself.
--
-- Roles belong to the cluster. What is missing is made if the login may do that, and else named as one block to run.
-- The comment marks the roles that were made here: uninstall drops those alone.
DO $$
DECLARE
  of_requests constant text[] := ARRAY['anon', 'authenticated', 'service_role'];
  missing     text[];
  grants      text[];
  statement   text;
BEGIN
  FOR attempt IN 1 .. 10 LOOP
    missing := ARRAY(SELECT r FROM unnest(of_requests || 'rowcast_gateway'::text) r WHERE to_regrole(r) IS NULL);
    grants := ARRAY(SELECT format('GRANT %I TO rowcast_gateway;', r) FROM unnest(of_requests) r
      WHERE CASE WHEN to_regrole(r) IS NULL OR to_regrole('rowcast_gateway') IS NULL THEN true
                 ELSE NOT pg_has_role('rowcast_gateway', r, 'MEMBER') END);
    EXIT WHEN missing = '{}' AND grants = '{}';
    BEGIN
      FOREACH statement IN ARRAY missing LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', statement);
        EXECUTE format('COMMENT ON ROLE %I IS ''made by rowcast migrate''', statement);
      END LOOP;
      FOREACH statement IN ARRAY grants LOOP
        EXECUTE statement;
      END LOOP;
      EXIT;
    EXCEPTION
      WHEN duplicate_object OR unique_violation OR internal_error THEN NULL; -- another database was faster: look again
      WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'roles or memberships that Rowcast needs are missing, and % may not make them', quote_ident(current_user)
          USING ERRCODE = 'insufficient_privilege',
          HINT = E'Run this as a superuser or an administrator with CREATEROLE, and migrate again:\n' || array_to_string(
            ARRAY(SELECT format('CREATE ROLE %I NOLOGIN NOINHERIT;', r) FROM unnest(missing) r) || grants, E'\n');
    END;
  END LOOP;
  -- The login that migrates may also run a gateway, if it can give itself the right. Since PostgreSQL 16 a role that has
  -- made another is not yet able to become it.
  IF NOT pg_has_role('rowcast_gateway',
    CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
  THEN
    BEGIN
      EXECUTE format('GRANT rowcast_gateway TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN NULL; -- another login may be meant to run it
    END;
  END IF;
END $$;

GRANT USAGE ON SCHEMA rowcast TO anon, authenticated, service_role, rowcast_gateway;
