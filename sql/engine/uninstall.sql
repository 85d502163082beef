-- Takes away what this set has made; the executions stay. Tables with rows are dropped only if the setting
-- rowcast.drop_data is on. Each INFO is a line of what was removed.
DO $$
DECLARE
  names  constant text[] := ARRAY['execution_schedules', 'execution_signals', 'task_propagation_logs', 'agent_task_dependencies', 'agent_tasks',
    'strategy_executions', 'agent_turns', 'agent_workers', 'agent_types', 'propagation_rules'];
  tables constant regclass[] := ARRAY(SELECT c.oid FROM unnest(names) WITH ORDINALITY t(name, at)
    JOIN pg_class c ON c.relname = t.name AND c.relnamespace = '@extschema@'::regnamespace ORDER BY t.at);
  own       regclass;
  has_row   boolean;
  with_rows text[] := '{}';
BEGIN
  -- What was not written by users may go: types, rules and turns are there from the start, or come with the first task.
  FOREACH own IN ARRAY tables LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', own) INTO has_row;
    IF has_row AND own::text ~ 'strategy_executions|execution_schedules' THEN
      with_rows := with_rows || own::text;
    END IF;
  END LOOP;
  IF with_rows <> '{}' AND current_setting('rowcast.drop_data', true) IS DISTINCT FROM 'on' THEN
    RAISE EXCEPTION 'these tables have rows: %', array_to_string(with_rows, ', ')
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'Nothing was changed. Dump what you want to keep, and say --drop-data.';
  END IF;
  DROP VIEW IF EXISTS @extschema@.execution_events;
  DROP TRIGGER IF EXISTS execution_checks ON @extschema@.agent_executions;
  DROP TRIGGER IF EXISTS execution_followed ON @extschema@.agent_executions;
  DROP TRIGGER IF EXISTS execution_moved ON @extschema@.agent_executions;
  FOREACH own IN ARRAY tables LOOP
    RAISE INFO 'the table %', own;
  END LOOP;
  -- Functions over the types of the tables go with them.
  IF tables <> '{}' THEN
    EXECUTE format('DROP TABLE %s CASCADE', array_to_string(tables, ', '));
  END IF;
END $$;

DROP FUNCTION IF EXISTS rowcast.refuse, rowcast.task_event, rowcast.task_message, rowcast.task_changed, rowcast.make_ready,
  rowcast.count_down, rowcast.tasks_ended, rowcast.reopen_behind, rowcast.cancel_open, rowcast.has_open, rowcast.has_cancelled, rowcast.settle, rowcast.execution_checks, rowcast.execution_followed,
  rowcast.execution_moved, rowcast.needs_of, rowcast.cycle_in, rowcast.insert_tasks, rowcast.know_types, rowcast.plan_execution,
  rowcast.is_trusted, rowcast.check_editor, rowcast.lock_execution, rowcast.move_execution, rowcast.start_execution, rowcast.resume_execution,
  rowcast.cancel_execution, rowcast.pause_execution, rowcast.add_tasks, rowcast.retry_task, rowcast.skip_task, rowcast.finish_task,
  rowcast.signal_execution, rowcast.wake_tasks, rowcast.fork_execution, rowcast.may_work, rowcast.admit_type, rowcast.claim_of, rowcast.assign_task,
  rowcast.ventures_in_turn, rowcast.take_task, rowcast.end_well, rowcast.claim_task, rowcast.worker_seen, rowcast.worker_carries, rowcast.next_to_send,
  rowcast.send_tasks, rowcast.begin_task, rowcast.hold_spent,
  rowcast.check_size, rowcast.heartbeat_task, rowcast.complete_task, rowcast.complete_and_claim, rowcast.fail_task, rowcast.release_task,
  rowcast.wait_task, rowcast.lost_leases, rowcast.overdue, rowcast.is_stalled, rowcast.attend, rowcast.sweep_engine, rowcast.purge_execution, rowcast.key_is_taken, rowcast.broken_laws,
  rowcast.is_alive, rowcast.is_met, rowcast.task_is_over;
DROP TYPE rowcast.task_status;

-- The role belongs to the cluster: another database may use it, or a login be a member of it.
DO $$
DECLARE
  members text[] := ARRAY(SELECT m.member::regrole::text FROM pg_auth_members m
    WHERE m.roleid = to_regrole('agent_worker') AND m.member NOT IN ('rowcast_gateway'::regrole, current_user::regrole));
BEGIN
  IF shobj_description(to_regrole('agent_worker'), 'pg_authid') IS DISTINCT FROM 'made by rowcast migrate' THEN
    RETURN;
  ELSIF members <> '{}' THEN
    RAISE dependent_objects_still_exist USING MESSAGE = format('%s is a member of it', array_to_string(members, ', '));
  END IF;
  DROP ROLE agent_worker;
  RAISE INFO 'the role agent_worker';
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
  RAISE INFO '(the role agent_worker stays: %)', SQLERRM;
END $$;
