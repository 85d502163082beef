-- A task's status and its event are one: the trigger below writes the event, and counts. A state without its event, or an
-- event without its state, cannot be committed.

-- Refuses with a code of the table of errors: the SQLSTATE is RC001, and the field CONSTRAINT has the code.
CREATE FUNCTION rowcast.refuse(code text, message text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'RC001', MESSAGE = message, CONSTRAINT = code;
END $$;

CREATE FUNCTION rowcast.task_is_over(status rowcast.task_status) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN status IN ('completed'::rowcast.task_status, 'failed'::rowcast.task_status, 'skipped'::rowcast.task_status,
  'cancelled'::rowcast.task_status);

-- The event of a change; null if the change is not one of the state machine.
CREATE FUNCTION rowcast.task_event(was rowcast.task_status, now_is rowcast.task_status, next_attempt boolean) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
  WHEN now_is = 'cancelled' AND was IN ('blocked', 'ready', 'running', 'waiting') THEN 'task-cancelled'
  WHEN was = 'blocked' AND now_is = 'ready' THEN 'task-ready'
  WHEN was = 'blocked' AND now_is = 'skipped' THEN 'task-skipped'
  WHEN was = 'blocked' AND now_is = 'completed' THEN 'task-completed' -- of a fork
  WHEN was = 'ready' AND now_is = 'running' THEN 'task-assigned'
  WHEN was = 'ready' AND now_is = 'completed' THEN 'task-completed' -- by a person
  WHEN was = 'ready' AND now_is = 'failed' THEN 'task-failed' -- not begun in time
  WHEN was = 'running' AND now_is = 'completed' THEN 'task-completed'
  WHEN was = 'running' AND now_is = 'failed' THEN 'task-failed'
  WHEN was = 'running' AND now_is = 'waiting' THEN 'task-waiting'
  WHEN was = 'running' AND now_is = 'ready' THEN CASE WHEN next_attempt THEN 'task-retrying' ELSE 'task-released' END
  WHEN was = 'waiting' AND now_is = 'ready' THEN 'task-ready'
  WHEN was = 'failed' AND now_is = 'ready' THEN 'task-ready'
  WHEN was = 'failed' AND now_is = 'skipped' THEN 'task-skipped'
  WHEN was = 'skipped' AND now_is = 'blocked' THEN 'task-blocked'
END;

-- The text of an event for people, without anything that is not in its context.
CREATE FUNCTION rowcast.task_message(event text, name text, error jsonb, because text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT left(CASE event
    WHEN 'task-failed' THEN format('%s failed: %s', name, coalesce(error ->> 'message', error ->> 'class', 'no reason given'))
    WHEN 'task-retrying' THEN format('%s will be tried again: %s', name, coalesce(error ->> 'message', error ->> 'class'))
    WHEN 'task-skipped' THEN format('%s is skipped because of %s', name, because)
    WHEN 'task-assigned' THEN name
    ELSE format('%s is %s', name, replace(event, 'task-', '')) END, 1000)
$$;

CREATE FUNCTION rowcast.agent_tasks_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  wrong record;
BEGIN
  IF NOT EXISTS (SELECT FROM old_rows o JOIN new_rows n USING (task_id) WHERE o.status <> n.status) THEN
    RETURN NULL;
  END IF;
  SELECT n.name, o.status AS was, n.status AS now_is INTO wrong FROM old_rows o JOIN new_rows n USING (task_id)
   WHERE o.status <> n.status AND rowcast.task_event(o.status, n.status, n.attempt > o.attempt) IS NULL LIMIT 1;
  IF FOUND THEN
    PERFORM rowcast.refuse('state_conflict', format('task %s is %s, and cannot become %s', wrong.name, wrong.was, wrong.now_is));
  END IF;
  -- Triggers of the application on the log run with the search_path of its owner.
  PERFORM set_config('search_path', rowcast.owner_search_path('@extschema@.agent_execution_logs'), true);
  INSERT INTO @extschema@.agent_execution_logs (execution_id, event_type, log_level, stage_number, message, context)
  SELECT c.execution_id, c.event,
         CASE c.event WHEN 'task-failed' THEN 'error' WHEN 'task-retrying' THEN 'warning' WHEN 'task-skipped' THEN 'warning'
           WHEN 'task-cancelled' THEN 'warning' ELSE 'info' END::rowcast.log_level,
         c.stage_number, rowcast.task_message(c.event, c.name, c.error, c.because),
         jsonb_build_object('step_id', c.task_id, 'step', c.name, 'agent', c.agent_type, 'attempt', c.attempt) ||
         CASE c.event
           WHEN 'task-assigned' THEN jsonb_build_object('worker', c.worker_id)
           WHEN 'task-completed' THEN jsonb_build_object('output', c.output, 'usage', c.usage,
             'duration_ms', (extract(epoch FROM c.ended_at - c.started_at) * 1000)::bigint)
           WHEN 'task-failed' THEN jsonb_build_object('error', c.error -> 'message', 'class', c.error -> 'class', 'code', c.error -> 'code')
           WHEN 'task-retrying' THEN jsonb_build_object('error', c.error -> 'message', 'class', c.error -> 'class',
             'delay_ms', greatest(0, (extract(epoch FROM c.run_at - clock_timestamp()) * 1000)::bigint))
           WHEN 'task-skipped' THEN jsonb_build_object('because', c.because)
           WHEN 'task-waiting' THEN jsonb_build_object('signal', c.signal, 'until', c.wait_until)
           ELSE '{}'::jsonb
         END
    FROM (SELECT n.*, rowcast.task_event(o.status, n.status, n.attempt > o.attempt) AS event
            FROM old_rows o JOIN new_rows n USING (task_id) WHERE o.status <> n.status) c
   ORDER BY c.execution_id, c.number;
  UPDATE @extschema@.strategy_executions s SET
      running_tasks = s.running_tasks + d.running, completed_tasks = s.completed_tasks + d.completed,
      failed_tasks = s.failed_tasks + d.failed, skipped_tasks = s.skipped_tasks + d.skipped,
      cancelled_tasks = s.cancelled_tasks + d.cancelled
    FROM (SELECT n.execution_id,
                 sum((n.status = 'running')::int - (o.status = 'running')::int) AS running,
                 sum((n.status = 'completed')::int - (o.status = 'completed')::int) AS completed,
                 sum((n.status = 'failed')::int - (o.status = 'failed')::int) AS failed,
                 sum((n.status = 'skipped')::int - (o.status = 'skipped')::int) AS skipped,
                 sum((n.status = 'cancelled')::int - (o.status = 'cancelled')::int) AS cancelled
            FROM old_rows o JOIN new_rows n USING (task_id) GROUP BY 1) d
   WHERE s.execution_id = d.execution_id;
  RETURN NULL;
END $$;
CREATE TRIGGER agent_tasks_changed AFTER UPDATE ON @extschema@.agent_tasks
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.agent_tasks_changed();

-- The name that the requirement has for the stream.
CREATE VIEW @extschema@.execution_events WITH (security_invoker = true) AS
  SELECT log_id, execution_id, event_type, context AS data, created_at FROM @extschema@.agent_execution_logs;
