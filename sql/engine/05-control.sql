-- What editors of a venture do with its executions. Each function locks the row of the execution first.

-- Whether the caller has all rights here: services, and the owner of the tables.
CREATE FUNCTION rowcast.is_trusted() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pg_has_role(c.caller, 'service_role', 'USAGE')
      OR pg_has_role(c.caller, (SELECT t.relowner FROM pg_class t WHERE t.oid = '@extschema@.agent_tasks'::regclass), 'USAGE')
    FROM (SELECT coalesce(nullif(current_setting('role'), 'none'), session_user)::name AS caller) c
$$;

CREATE FUNCTION rowcast.check_editor(venture uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT rowcast.is_trusted() AND NOT EXISTS (SELECT FROM @extschema@.venture_members m
    WHERE m.venture_id = venture AND m.user_id = rowcast.subject() AND m.role = 'editor')
  THEN
    RAISE EXCEPTION 'you are not an editor of this venture' USING ERRCODE = 'insufficient_privilege';
  END IF;
END $$;

-- Locks an execution that the engine runs, for an editor of its venture; returns its status.
CREATE FUNCTION rowcast.lock_execution(execution uuid) RETURNS rowcast.execution_status
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_one record;
BEGIN
  SELECT e.venture_id, e.status INTO found_one FROM @extschema@.agent_executions e
   WHERE e.execution_id = execution AND EXISTS (SELECT FROM @extschema@.strategy_executions s WHERE s.execution_id = execution)
     FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM rowcast.refuse('unknown_execution', format('there is no execution %s that the engine runs', execution));
  END IF;
  PERFORM rowcast.check_editor(found_one.venture_id);
  RETURN found_one.status;
END $$;

CREATE FUNCTION rowcast.lock_task(task uuid) RETURNS @extschema@.agent_tasks
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := (SELECT t FROM @extschema@.agent_tasks t WHERE t.task_id = task);
BEGIN
  IF own.task_id IS NULL THEN
    PERFORM rowcast.refuse('unknown_task', format('there is no task %s', task));
  END IF;
  IF rowcast.lock_execution(own.execution_id) NOT IN ('running', 'paused') THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s is not running', own.execution_id));
  END IF;
  RETURN (SELECT t FROM @extschema@.agent_tasks t WHERE t.task_id = task);
END $$;

-- Starts, resumes or cancels. A status that the execution has already is no change.
CREATE FUNCTION rowcast.move_execution(execution uuid, to_status rowcast.execution_status) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF rowcast.lock_execution(execution) <> to_status THEN
    UPDATE @extschema@.agent_executions e SET status = to_status WHERE e.execution_id = execution;
  END IF;
END $$;

-- An execution whose concurrency key is taken stays pending: `attend` starts it when the other one has ended.
CREATE FUNCTION rowcast.start_execution(execution uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  status constant rowcast.execution_status := rowcast.lock_execution(execution);
BEGIN
  IF status = 'paused' THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s is paused: resume it', execution));
  ELSIF status = 'pending' AND rowcast.key_is_taken(execution) THEN
    UPDATE @extschema@.strategy_executions s SET queued_at = clock_timestamp() WHERE s.execution_id = execution AND s.queued_at IS NULL;
    RETURN;
  END IF;
  PERFORM rowcast.move_execution(execution, 'running');
END $$;

-- `budget` raises the limit of one that was paused because it had spent it.
CREATE FUNCTION rowcast.resume_execution(execution uuid, budget numeric DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF rowcast.lock_execution(execution) = 'pending' THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s is pending: start it', execution));
  END IF;
  UPDATE @extschema@.strategy_executions s SET budget = resume_execution.budget
   WHERE s.execution_id = execution AND resume_execution.budget IS NOT NULL;
  PERFORM rowcast.move_execution(execution, 'running');
END $$;

CREATE FUNCTION rowcast.cancel_execution(execution uuid, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF rowcast.lock_execution(execution) IN ('pending', 'running', 'paused') AND reason IS NOT NULL THEN
    PERFORM rowcast.add_execution_log(execution, 'log', 'warning', NULL, left(format('cancelled: %s', reason), 1000),
      jsonb_build_object('reason', left(reason, 1000), 'by', rowcast.actor()));
  END IF;
  PERFORM rowcast.move_execution(execution, 'cancelled');
END $$;

-- `drain`: running tasks end, no other begins. `stop`: they are given back, and begin anew after a resume.
CREATE FUNCTION rowcast.pause_execution(execution uuid, mode text DEFAULT 'drain') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF mode NOT IN ('drain', 'stop') THEN
    PERFORM rowcast.refuse('invalid_request', 'mode must be drain or stop');
  END IF;
  PERFORM rowcast.move_execution(execution, 'paused');
  UPDATE @extschema@.agent_tasks t SET status = 'ready', held = true, lease = NULL, lease_until = NULL, worker_id = NULL
   WHERE mode = 'stop' AND t.execution_id = execution AND t.status = 'running';
END $$;

-- Adds tasks while the execution is open. A worker that has the lease of one of its tasks may do it too.
CREATE FUNCTION rowcast.add_tasks(execution uuid, tasks jsonb, lease uuid DEFAULT NULL) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  venture uuid := (SELECT e.venture_id FROM @extschema@.agent_executions e WHERE e.execution_id = execution);
  status  rowcast.execution_status;
  before  int;
  added   int;
BEGIN
  IF lease IS NULL THEN
    status := rowcast.lock_execution(execution);
  ELSE
    SELECT e.status INTO status FROM @extschema@.agent_executions e WHERE e.execution_id = execution FOR NO KEY UPDATE;
    IF NOT EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.status = 'running' AND t.lease = add_tasks.lease
      AND rowcast.may_work(t.agent_type, t.venture_id))
    THEN
      PERFORM rowcast.refuse('lease_lost', 'the lease is not that of a running task of this execution');
    END IF;
  END IF;
  IF status IN ('completed', 'failed', 'cancelled') THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s is %s, which is final', execution, status));
  END IF;
  before := (SELECT s.total_tasks FROM @extschema@.strategy_executions s WHERE s.execution_id = execution);
  PERFORM rowcast.know_types(venture, tasks);
  added := rowcast.insert_tasks(execution, venture, tasks);
  PERFORM rowcast.add_execution_log(execution, 'task-added', 'info', NULL, format('%s tasks were added', added),
    jsonb_build_object('added', added, 'total', before + added));
  IF status <> 'pending' THEN
    -- What a new task needs may have failed already.
    PERFORM rowcast.tasks_ended(ARRAY(
      SELECT DISTINCT d.depends_on FROM @extschema@.agent_tasks t JOIN @extschema@.agent_task_dependencies d USING (task_id)
        JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on
       WHERE t.execution_id = execution AND t.number > before AND rowcast.is_met(d.needs, b.status, b.passed) = false));
    PERFORM rowcast.make_ready(ARRAY(SELECT t.task_id FROM @extschema@.agent_tasks t
      WHERE t.execution_id = execution AND t.number > before AND t.status = 'blocked' AND t.waits_for = 0));
    PERFORM rowcast.settle(execution);
  END IF;
  RETURN added;
END $$;

-- A failed task gets one more attempt, and what was skipped behind it can run after all.
CREATE FUNCTION rowcast.retry_task(task uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_task(task);
BEGIN
  IF own.status <> 'failed' THEN
    PERFORM rowcast.refuse('state_conflict', format('task %s is %s: only a failed one can be retried', own.name, own.status));
  END IF;
  UPDATE @extschema@.agent_tasks t SET attempt = t.attempt + 1, max_attempts = greatest(t.max_attempts, t.attempt + 1)
   WHERE t.task_id = task;
  PERFORM rowcast.make_ready(ARRAY[task]), rowcast.reopen_behind(task);
END $$;

-- Goes on without a failed task: what needs it runs as if it had ended well.
CREATE FUNCTION rowcast.skip_task(task uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_task(task);
BEGIN
  IF own.status <> 'failed' THEN
    PERFORM rowcast.refuse('state_conflict', format('task %s is %s: only a failed one can be skipped', own.name, own.status));
  END IF;
  UPDATE @extschema@.agent_tasks t SET status = 'skipped', passed = true, because = rowcast.actor() WHERE t.task_id = task;
  PERFORM rowcast.reopen_behind(task), rowcast.settle(own.execution_id);
END $$;

-- A person has done a task of the kind `human`.
CREATE FUNCTION rowcast.finish_task(task uuid, output jsonb DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_task(task);
BEGIN
  IF own.kind <> 'human' OR own.status <> 'ready' THEN
    PERFORM rowcast.refuse('state_conflict', format('task %s is %s, and of the kind %s', own.name, own.status, own.kind));
  END IF;
  UPDATE @extschema@.agent_tasks t SET status = 'completed', worker_id = rowcast.actor(), output = finish_task.output,
      started_at = coalesce(t.started_at, t.run_at), ended_at = clock_timestamp()
   WHERE t.task_id = task;
  PERFORM rowcast.tasks_ended(ARRAY[task]), rowcast.settle(own.execution_id);
END $$;

-- Sends a signal: tasks that wait for it go on. The first of a name counts; returns whether this was the first.
CREATE FUNCTION rowcast.signal_execution(execution uuid, name text, payload jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF rowcast.lock_execution(execution) IN ('completed', 'failed', 'cancelled') THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s has ended', execution));
  END IF;
  INSERT INTO @extschema@.execution_signals (execution_id, name, payload) VALUES (execution, signal_execution.name, signal_execution.payload)
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM rowcast.add_execution_log(execution, 'signal-received', 'info', NULL, format('signal %s', signal_execution.name),
    jsonb_build_object('signal', signal_execution.name, 'payload', signal_execution.payload));
  PERFORM rowcast.wake_tasks(ARRAY(SELECT t.task_id FROM @extschema@.agent_tasks t
    WHERE t.execution_id = execution AND t.status = 'waiting' AND t.signal = signal_execution.name));
  RETURN true;
END $$;

-- Tasks go on after a signal, or after the time that they waited for. The payload of the signal is in their input.
CREATE FUNCTION rowcast.wake_tasks(tasks uuid[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE @extschema@.agent_tasks t SET input = jsonb_set(t.input, '{signals}',
      CASE jsonb_typeof(t.input -> 'signals') WHEN 'object' THEN t.input -> 'signals' ELSE '{}' END
        || jsonb_build_object(t.signal, (SELECT s.payload FROM @extschema@.execution_signals s WHERE s.execution_id = t.execution_id AND s.name = t.signal)))
   WHERE t.task_id = ANY (tasks) AND t.signal IS NOT NULL AND jsonb_typeof(t.input) = 'object';
  SELECT rowcast.make_ready(tasks);
$$;

-- A new execution with the tasks of one that has ended. What had completed is completed from the start, with its output;
-- but not the task `again` and what depends on it. Without it everything that had not completed runs.
CREATE FUNCTION rowcast.fork_execution(execution uuid, again text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  status  constant rowcast.execution_status := rowcast.lock_execution(execution);
  origin  @extschema@.strategy_executions := (SELECT s FROM @extschema@.strategy_executions s WHERE s.execution_id = execution);
  started constant uuid := (SELECT t.task_id FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.name = again);
  fork    uuid;
  done    uuid[];
BEGIN
  IF status NOT IN ('completed', 'failed', 'cancelled') THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s is %s: only one that has ended can be forked', execution, status));
  ELSIF again IS NOT NULL AND started IS NULL THEN
    PERFORM rowcast.refuse('unknown_task', format('execution %s has no task %s', execution, again));
  END IF;
  fork := rowcast.plan_execution((SELECT e.venture_id FROM @extschema@.agent_executions e WHERE e.execution_id = execution), jsonb_build_object(
    'metadata', (SELECT e.metadata FROM @extschema@.agent_executions e WHERE e.execution_id = execution),
    'strategy_id', origin.strategy_id, 'source', origin.source, 'on_failure', origin.on_failure, 'max_parallel', origin.max_parallel,
    'priority', origin.priority, 'concurrency_key', origin.concurrency_key, 'budget', origin.budget,
    'cost_limit', origin.cost_limit, 'forked_from', execution,
    'stages', origin.stages,
    'tasks', (SELECT jsonb_agg(jsonb_build_object('name', t.name, 'agent_type', t.agent_type, 'kind', t.kind, 'stage', t.stage_number,
        'input', t.input, 'priority', t.priority, 'optional', t.optional, 'concurrency_key', t.concurrency_key,
        'due_seconds', t.due_seconds, 'item_ref', t.item_ref,
        'needs', (SELECT coalesce(jsonb_agg(jsonb_build_object('task', b.name, 'on', d.needs) ORDER BY b.number), '[]')
          FROM @extschema@.agent_task_dependencies d JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on WHERE d.task_id = t.task_id))
        ORDER BY t.number) FROM @extschema@.agent_tasks t WHERE t.execution_id = execution)));
  WITH RECURSIVE anew AS (
    SELECT started AS task_id UNION SELECT d.task_id FROM anew a JOIN @extschema@.agent_task_dependencies d ON d.depends_on = a.task_id),
  copied AS (
    UPDATE @extschema@.agent_tasks t SET output = o.output, usage = o.usage, started_at = o.started_at, ended_at = o.ended_at, status = 'completed'
      FROM @extschema@.agent_tasks o WHERE t.execution_id = fork AND o.execution_id = execution AND o.name = t.name AND o.status = 'completed'
       AND o.task_id NOT IN (SELECT a.task_id FROM anew a WHERE a.task_id IS NOT NULL) RETURNING t.task_id)
  SELECT coalesce(array_agg(c.task_id), '{}') INTO done FROM copied c;
  UPDATE @extschema@.agent_tasks t SET checkpoint = o.checkpoint FROM @extschema@.agent_tasks o
   WHERE t.execution_id = fork AND t.status <> 'completed' AND o.execution_id = execution AND o.name = t.name AND o.checkpoint IS NOT NULL
     AND o.name IS DISTINCT FROM again;
  PERFORM rowcast.tasks_ended(done);
  PERFORM rowcast.start_execution(fork);
  RETURN fork;
END $$;
