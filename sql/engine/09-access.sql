-- Who may see and do what. Members of a venture see its tasks; the functions above change them, and check who calls.

DO $$
DECLARE
  seen   constant text[] := ARRAY['strategy_executions', 'agent_tasks', 'task_propagation_logs', 'execution_signals'];
  of_all constant text[] := ARRAY['agent_types', 'agent_workers'];
  others constant text[] := ARRAY['agent_turns', 'agent_task_dependencies', 'propagation_rules', 'execution_schedules'];
  r      text;
BEGIN
  FOREACH r IN ARRAY seen || of_all || others LOOP
    EXECUTE format('ALTER TABLE @extschema@.%I ENABLE ROW LEVEL SECURITY', r);
    EXECUTE format('REVOKE ALL ON @extschema@.%I FROM anon, authenticated, service_role, agent_worker', r);
    EXECUTE format('CREATE POLICY service ON @extschema@.%I TO service_role USING (true) WITH CHECK (true)', r);
    EXECUTE format('GRANT SELECT ON @extschema@.%I TO authenticated, service_role', r);
  END LOOP;
  -- Those that see the execution: its own policy holds within this one.
  FOREACH r IN ARRAY seen LOOP
    EXECUTE format('CREATE POLICY members ON @extschema@.%1$I FOR SELECT TO authenticated
      USING (EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = %1$I.execution_id))', r);
  END LOOP;
  FOREACH r IN ARRAY of_all LOOP
    EXECUTE format('CREATE POLICY users ON @extschema@.%I FOR SELECT TO authenticated USING (true)', r);
  END LOOP;
  REVOKE SELECT ON @extschema@.agent_turns FROM authenticated;
  -- A lease is the right to report: only the worker that was given it has it.
  REVOKE SELECT ON @extschema@.agent_tasks FROM authenticated;
  EXECUTE format('GRANT SELECT (%s) ON @extschema@.agent_tasks TO authenticated', (
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
     WHERE a.attrelid = '@extschema@.agent_tasks'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'lease'));
END $$;
CREATE POLICY members ON @extschema@.agent_task_dependencies FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.task_id = agent_task_dependencies.task_id));
CREATE POLICY members ON @extschema@.propagation_rules FOR SELECT TO authenticated
  USING (venture_id IS NULL OR EXISTS (SELECT FROM @extschema@.venture_members m
    WHERE m.venture_id = propagation_rules.venture_id AND m.user_id = (SELECT rowcast.subject())));
CREATE POLICY members ON @extschema@.execution_schedules FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.venture_members m
    WHERE m.venture_id = execution_schedules.venture_id AND m.user_id = (SELECT rowcast.subject())));
CREATE POLICY editors ON @extschema@.execution_schedules TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.venture_members m WHERE m.venture_id = execution_schedules.venture_id
    AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'))
  WITH CHECK (EXISTS (SELECT FROM @extschema@.venture_members m WHERE m.venture_id = execution_schedules.venture_id
    AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
GRANT INSERT, UPDATE, DELETE ON @extschema@.agent_types, @extschema@.propagation_rules TO service_role;
GRANT INSERT, UPDATE, DELETE ON @extschema@.execution_schedules TO authenticated, service_role;
CREATE TRIGGER append_only BEFORE UPDATE ON @extschema@.task_propagation_logs
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.refuse_change();

REVOKE ALL ON @extschema@.execution_events FROM anon, authenticated, service_role, agent_worker;
GRANT SELECT ON @extschema@.execution_events TO authenticated, service_role;

-- What runs for each task is planned once, for indexes: a plan for the arrays of one call costs more than the call, and one
-- that was made while the tables were small would read all of a table that has grown. Without JIT, because PostgreSQL before 18
-- gives a scan that is off an enormous cost, for which it would compile each statement. What a function calls has its settings, so
-- that only those have them that are called from outside: to set and restore them costs as much as a statement.
DO $$
DECLARE
  f       regprocedure;
  setting text;
BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'rowcast'::regnamespace AND p.proname = ANY (ARRAY[
    'make_ready', 'tasks_ended', 'settle', 'claim_task', 'begin_task', 'heartbeat_task', 'complete_task', 'complete_and_claim', 'fail_task',
    'release_task', 'wait_task', 'attend'])
  LOOP
    FOREACH setting IN ARRAY ARRAY['plan_cache_mode = force_generic_plan', 'enable_seqscan = off', 'enable_hashjoin = off',
      'enable_mergejoin = off', 'jit = off'] LOOP
      EXECUTE format('ALTER FUNCTION %s SET %s', f, setting);
    END LOOP;
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA rowcast TO agent_worker;
-- Everything here is called by the functions that are granted below, with the rights of their owner.
DO $$
DECLARE
  f regprocedure;
BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'rowcast'::regnamespace AND p.proname = ANY (ARRAY[
    'refuse', 'task_event', 'task_message', 'task_changed', 'make_ready', 'has_open', 'has_cancelled', 'count_down', 'tasks_ended', 'reopen_behind', 'cancel_open',
    'settle', 'execution_checks', 'execution_followed', 'execution_moved', 'insert_tasks', 'know_types', 'plan_execution', 'is_trusted',
    'check_editor', 'lock_execution', 'lock_task', 'move_execution', 'start_execution', 'resume_execution', 'cancel_execution',
    'pause_execution', 'add_tasks', 'retry_task', 'skip_task', 'finish_task', 'signal_execution', 'wake_tasks', 'fork_execution', 'may_work',
    'admit_type', 'tokens_of', 'claim_of', 'assign_task', 'ventures_in_turn', 'take_task', 'claim_task', 'worker_seen', 'begin_task', 'lock_lease',
    'spend', 'hold_spent', 'check_size', 'heartbeat_task', 'end_well', 'complete_task', 'complete_and_claim', 'end_attempt', 'fail_task', 'release_task',
    'wait_task', 'lost_leases', 'overdue', 'attend', 'sweep_engine', 'purge_execution', 'key_is_taken', 'broken_laws', 'needs_of', 'cycle_in', 'is_stalled'])
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, anon, authenticated, service_role', f);
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION rowcast.plan_execution, rowcast.start_execution, rowcast.resume_execution, rowcast.cancel_execution,
  rowcast.pause_execution, rowcast.add_tasks, rowcast.retry_task, rowcast.skip_task, rowcast.finish_task, rowcast.signal_execution,
  rowcast.fork_execution TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.claim_task, rowcast.worker_seen, rowcast.begin_task, rowcast.heartbeat_task, rowcast.complete_task,
  rowcast.complete_and_claim, rowcast.fail_task, rowcast.release_task, rowcast.wait_task, rowcast.lost_leases, rowcast.add_tasks
  TO agent_worker, service_role;
GRANT EXECUTE ON FUNCTION rowcast.overdue, rowcast.attend, rowcast.sweep_engine TO service_role, rowcast_gateway;
GRANT EXECUTE ON FUNCTION rowcast.broken_laws, rowcast.purge_execution TO service_role;
