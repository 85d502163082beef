-- Takes away what this set has made. Tables with rows are dropped only if the setting rowcast.drop_data is on; a table
-- `ventures` that belongs to the application stays. Each INFO is a line of what was removed.
DO $$
DECLARE
  adopted constant boolean := (SELECT 'ventures' = ANY (e.adopted) FROM rowcast.extensions e WHERE e.name = 'executions');
  tables  constant regclass[] := ARRAY(
    SELECT c.oid FROM unnest(ARRAY['agent_execution_logs', 'execution_alerts', 'execution_health_snapshots', 'execution_metrics', 'execution_audit', 'agent_executions',
        'venture_members', 'ventures']) WITH ORDINALITY t(name, at)
      JOIN pg_class c ON c.relname = t.name AND c.relnamespace = '@extschema@'::regnamespace
     WHERE t.name <> 'ventures' OR NOT adopted ORDER BY t.at);
  own     regclass;
  stream  text;
  has_row boolean;
  with_rows text[] := '{}';
BEGIN
  FOREACH own IN ARRAY tables LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', own) INTO has_row;
    IF has_row THEN
      with_rows := with_rows || own::text;
    END IF;
  END LOOP;
  IF with_rows <> '{}' AND current_setting('rowcast.drop_data', true) IS DISTINCT FROM 'on' THEN
    RAISE EXCEPTION 'these tables have rows: %', array_to_string(with_rows, ', ')
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'Nothing was changed. Dump what you want to keep, and say --drop-data.';
  END IF;
  FOR stream IN SELECT s.name FROM rowcast.streams s WHERE s.relation = ANY (tables)
    OR s.name IN ('execution', 'venture') AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation) -- dropped
  LOOP
    PERFORM rowcast.detach(stream);
  END LOOP;
  FOREACH own IN ARRAY tables LOOP
    RAISE INFO 'the table %', own;
  END LOOP;
  IF tables <> '{}' THEN
    EXECUTE format('DROP TABLE %s', array_to_string(tables, ', '));
  END IF;
END $$;

DROP FUNCTION IF EXISTS rowcast.refuse_change, rowcast.touch, rowcast.add_execution_log, rowcast.audit_execution,
  rowcast.execution_changed, rowcast.metric_recorded, rowcast.record_health, rowcast.judge_alerts,
  rowcast.claim_alerts, rowcast.alert_told, rowcast.venture_exists, rowcast.venture_is_open,
  rowcast.execution_exists, rowcast.execution_floor;
DROP TYPE IF EXISTS rowcast.execution_status, rowcast.log_level;
