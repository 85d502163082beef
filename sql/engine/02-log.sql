-- A task's status and its event are one: the trigger below writes the event. A state without its event, or an
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
LANGUAGE sql STABLE
RETURN left(CASE event
  WHEN 'task-failed' THEN format('%s failed: %s', name, coalesce(error ->> 'message', error ->> 'class', 'no reason given'))
  WHEN 'task-retrying' THEN format('%s will be tried again: %s', name, coalesce(error ->> 'message', error ->> 'class'))
  WHEN 'task-skipped' THEN format('%s is skipped because of %s', name, because)
  WHEN 'task-assigned' THEN name
  ELSE format('%s is %s', name, replace(event, 'task-', '')) END, 1000);

CREATE FUNCTION rowcast.task_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  event   constant text := rowcast.task_event(OLD.status, NEW.status, NEW.attempt > OLD.attempt);
  message constant text := rowcast.task_message(event, NEW.name, NEW.error, NEW.because);
  level   rowcast.log_level := 'info';
  context jsonb;
  path    text;
BEGIN
  IF event IS NULL THEN
    PERFORM rowcast.refuse('state_conflict', format('task %s is %s, and cannot become %s', NEW.name, OLD.status, NEW.status));
  ELSIF event IN ('task-failed', 'task-retrying', 'task-skipped', 'task-cancelled') THEN
    level := CASE event WHEN 'task-failed' THEN 'error' ELSE 'warning' END;
  END IF;
  context := jsonb_build_object('step_id', NEW.task_id, 'step', NEW.name, 'agent', NEW.agent_type, 'attempt', NEW.attempt) ||
    CASE event
      WHEN 'task-assigned' THEN jsonb_build_object('worker', NEW.worker_id)
      WHEN 'task-completed' THEN jsonb_build_object('output', NEW.output, 'usage', NEW.usage,
        'duration_ms', (extract(epoch FROM NEW.ended_at - NEW.started_at) * 1000)::bigint)
      WHEN 'task-failed' THEN jsonb_build_object('error', NEW.error -> 'message', 'class', NEW.error -> 'class', 'code', NEW.error -> 'code')
      WHEN 'task-retrying' THEN jsonb_build_object('error', NEW.error -> 'message', 'class', NEW.error -> 'class',
        'delay_ms', greatest(0, (extract(epoch FROM NEW.run_at - clock_timestamp()) * 1000)::bigint))
      WHEN 'task-skipped' THEN jsonb_build_object('because', NEW.because)
      WHEN 'task-waiting' THEN jsonb_build_object('signal', NEW.signal, 'until', NEW.wait_until)
      ELSE '{}'::jsonb
    END;
  -- As add_execution_log does it: a call of that for each event would cost as much as the INSERT.
  path := set_config('search_path', rowcast.owner_search_path('@extschema@.agent_execution_logs'), true);
  INSERT INTO @extschema@.agent_execution_logs (execution_id, event_type, log_level, stage_number, message, context)
    VALUES (NEW.execution_id, event, level, NEW.stage_number, message, context);
  RETURN NULL;
END $$;
CREATE TRIGGER task_changed AFTER UPDATE OF status ON @extschema@.agent_tasks
  FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION rowcast.task_changed();

-- The name that the requirement has for the stream.
CREATE VIEW @extschema@.execution_events WITH (security_invoker = true) AS
  SELECT log_id, execution_id, event_type, context AS data, created_at FROM @extschema@.agent_execution_logs;
