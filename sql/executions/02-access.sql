-- Who may see and write the executions of a venture: its members. And what the HTTP API asks of the database.

SELECT rowcast.watch_access('@extschema@.venture_members', 'user_id');

-- An execution that moves to another venture is seen by others from then on.
CREATE TRIGGER rowcast_access AFTER UPDATE OF venture_id ON @extschema@.agent_executions
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.access_changed();

ALTER TABLE @extschema@.venture_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.agent_executions ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.agent_execution_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.execution_metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.execution_audit ENABLE ROW LEVEL SECURITY;

-- In a subselect of its own the subject is read once for a statement, and not for each row.
CREATE POLICY own ON @extschema@.venture_members FOR SELECT TO authenticated
  USING (user_id = (SELECT rowcast.subject()));
CREATE POLICY members ON @extschema@.agent_executions FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.venture_members m
    WHERE m.venture_id = agent_executions.venture_id AND m.user_id = (SELECT rowcast.subject())));
CREATE POLICY members ON @extschema@.execution_audit FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.venture_members m
    WHERE m.venture_id = execution_audit.venture_id AND m.user_id = (SELECT rowcast.subject())));
-- Those that see the execution: its own policy holds within this one.
CREATE POLICY members ON @extschema@.agent_execution_logs FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = agent_execution_logs.execution_id));
CREATE POLICY members ON @extschema@.execution_metrics FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = execution_metrics.execution_id));

CREATE POLICY editors_add ON @extschema@.agent_executions FOR INSERT TO authenticated
  WITH CHECK (EXISTS (SELECT FROM @extschema@.venture_members m WHERE m.venture_id = agent_executions.venture_id
    AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
CREATE POLICY editors_change ON @extschema@.agent_executions FOR UPDATE TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.venture_members m WHERE m.venture_id = agent_executions.venture_id
    AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
CREATE POLICY editors_add ON @extschema@.agent_execution_logs FOR INSERT TO authenticated
  WITH CHECK (EXISTS (SELECT FROM @extschema@.agent_executions e JOIN @extschema@.venture_members m USING (venture_id)
    WHERE e.execution_id = agent_execution_logs.execution_id
      AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
CREATE POLICY editors_add ON @extschema@.execution_metrics FOR INSERT TO authenticated
  WITH CHECK (EXISTS (SELECT FROM @extschema@.agent_executions e JOIN @extschema@.venture_members m USING (venture_id)
    WHERE e.execution_id = execution_metrics.execution_id
      AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));

CREATE POLICY service ON @extschema@.venture_members TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON @extschema@.agent_executions TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON @extschema@.agent_execution_logs TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON @extschema@.execution_metrics TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON @extschema@.execution_audit FOR SELECT TO service_role USING (true);

DO $$
DECLARE
  r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
    IF NOT has_schema_privilege(r, '@extschema@'::regnamespace, 'USAGE') THEN
      EXECUTE format('GRANT USAGE ON SCHEMA @extschema@ TO %I', r);
    END IF;
  END LOOP;
END $$;
-- Default privileges may have given more than is meant here, such as TRUNCATE, which no policy stops.
REVOKE ALL ON @extschema@.venture_members, @extschema@.agent_executions, @extschema@.agent_execution_logs,
  @extschema@.execution_metrics, @extschema@.execution_audit FROM anon, authenticated, service_role;
GRANT SELECT ON @extschema@.venture_members, @extschema@.agent_executions, @extschema@.agent_execution_logs,
  @extschema@.execution_metrics, @extschema@.execution_audit TO authenticated, service_role;
GRANT INSERT ON @extschema@.agent_executions, @extschema@.agent_execution_logs, @extschema@.execution_metrics
  TO authenticated, service_role;
GRANT UPDATE (status, stage_number, metadata) ON @extschema@.agent_executions TO authenticated;
GRANT INSERT ON @extschema@.venture_members TO service_role;
GRANT UPDATE, DELETE ON @extschema@.venture_members, @extschema@.agent_executions, @extschema@.agent_execution_logs,
  @extschema@.execution_metrics TO service_role;

-- Whether a venture or an execution is there at all, for an answer that tells 404 from 403. A role that may not look into
-- the table is answered as if it were: it cannot learn whether an id exists. These run as their owner: the role that asks
-- is the one that the transaction has become.
CREATE FUNCTION rowcast.execution_exists(id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT has_any_column_privilege(coalesce(nullif(current_setting('role'), 'none'), session_user), '@extschema@.agent_executions', 'SELECT')
    OR EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = $1)
$$;

-- A table of ventures that belongs to the application gets no policy and no right: its venture is open to its members.
-- In one of our own the policies say so, and the application may add to them.
DO $do$
DECLARE
  adopted boolean := (SELECT 'ventures' = ANY (e.adopted) FROM rowcast.extensions e WHERE e.name = 'executions');
  key     name := (SELECT a.attname FROM pg_constraint p JOIN pg_attribute a ON a.attrelid = p.conrelid AND a.attnum = p.conkey[1]
                    WHERE p.conrelid = '@extschema@.ventures'::regclass AND p.contype = 'p');
BEGIN
  EXECUTE format($sql$
    CREATE FUNCTION rowcast.venture_exists(id uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
      SELECT NOT has_any_column_privilege(coalesce(nullif(current_setting('role'), 'none'), session_user), '@extschema@.%s', 'SELECT')
        OR EXISTS (SELECT FROM @extschema@.ventures v WHERE v.%I = $1)
    $$ $sql$, CASE WHEN adopted THEN 'venture_members' ELSE 'ventures' END, key);
  IF adopted THEN
    CREATE FUNCTION rowcast.venture_is_open(key text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
      SELECT NOT row_security_active('@extschema@.venture_members') OR EXISTS (SELECT FROM @extschema@.venture_members m
        WHERE m.venture_id = $1::uuid AND m.user_id = (SELECT rowcast.subject()))
    $$;
    PERFORM rowcast.guard('venture', 'rowcast.venture_is_open');
  ELSE
    ALTER TABLE @extschema@.ventures ENABLE ROW LEVEL SECURITY;
    CREATE POLICY members ON @extschema@.ventures FOR SELECT TO authenticated
      USING (EXISTS (SELECT FROM @extschema@.venture_members m
        WHERE m.venture_id = ventures.venture_id AND m.user_id = (SELECT rowcast.subject())));
    CREATE POLICY service ON @extschema@.ventures TO service_role USING (true) WITH CHECK (true);
    REVOKE ALL ON @extschema@.ventures FROM anon, authenticated, service_role;
    GRANT SELECT ON @extschema@.ventures TO authenticated;
    GRANT SELECT, INSERT, UPDATE, DELETE ON @extschema@.ventures TO service_role;
  END IF;
END $do$;

-- Where an emptied channel stands.
CREATE FUNCTION rowcast.execution_floor(id uuid) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.floor FROM rowcast.channels c JOIN rowcast.streams s USING (stream_id)
   WHERE s.name = 'execution' AND c.key = $1::text
$$;

-- What `anon` is granted it may also read by the HTTP API.
REVOKE EXECUTE ON FUNCTION rowcast.venture_exists, rowcast.execution_exists, rowcast.execution_floor
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.venture_exists, rowcast.execution_exists, rowcast.execution_floor
  TO anon, authenticated, service_role;
-- These write with the rights of their owner, and a trigger on any table could call them: see rowcast.make_access.
REVOKE EXECUTE ON FUNCTION rowcast.execution_changed, rowcast.metric_recorded FROM PUBLIC, anon, authenticated, service_role;
