-- The course of an execution: what follows from the end of a task, and from a change of the status of the execution.
--
-- Every function here is called with the row of the execution locked. One transaction waits for one execution.
-- What only other functions call for each task has no search_path of its own: it has theirs, and only the owner may call it.

-- Makes tasks ready: from now on they may be claimed, if the execution is running. A task that no worker takes is given up
-- at `due_at`; one for a person only if it says so.
CREATE FUNCTION rowcast.make_ready(tasks uuid[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  moment constant timestamptz := clock_timestamp(); -- one for all: they begin in the order of the plan
BEGIN
  IF tasks = '{}' THEN
    RETURN;
  END IF;
  UPDATE @extschema@.agent_tasks t
     SET status = 'ready', waits_for = 0, held = e.status <> 'running', run_at = greatest(t.run_at, moment), signal = NULL, wait_until = NULL,
         because = NULL, ended_at = NULL, sent_at = NULL, sendings = 0,
         due_at = greatest(t.run_at, moment)
           + make_interval(secs => coalesce(t.due_seconds, CASE t.kind WHEN 'agent' THEN y.queue_timeout_seconds END))
    FROM @extschema@.agent_executions e, @extschema@.agent_types y
   WHERE t.task_id = ANY (tasks) AND e.execution_id = t.execution_id AND y.agent_type = t.agent_type;
END $$;

-- Whether what a task needs of another is there (true), can no longer come (false), or is open (null).
CREATE FUNCTION rowcast.is_met(needs text, status rowcast.task_status, passed boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN CASE
  WHEN status = 'completed'::rowcast.task_status OR (status = 'skipped'::rowcast.task_status AND passed) THEN true
  WHEN rowcast.task_is_over(status) THEN needs = 'ended'
END;

-- A task has ended: what needs it waits for one fewer, and is ready when it waits for none. `well`: what needs it completed may
-- run. Returns whether anything waited. What waits for more has its times set again later. An execution that is pending has its
-- roots made ready by its start, and with them what is free by then.
CREATE FUNCTION rowcast.count_down(ended uuid, well boolean) RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
  moment constant timestamptz := clock_timestamp();
BEGIN
  -- The status as text: the plan would read an index of all that is blocked.
  UPDATE @extschema@.agent_tasks t
     SET waits_for = t.waits_for - 1,
         status = CASE WHEN t.waits_for > 1 OR e.status = 'pending' THEN 'blocked' ELSE 'ready' END::rowcast.task_status,
         held = e.status <> 'running', run_at = greatest(t.run_at, moment),
         due_at = greatest(t.run_at, moment)
           + make_interval(secs => coalesce(t.due_seconds, CASE t.kind WHEN 'agent' THEN y.queue_timeout_seconds END))
    FROM @extschema@.agent_task_dependencies d, @extschema@.agent_executions e, @extschema@.agent_types y
   WHERE d.depends_on = ended AND (well OR d.needs = 'ended') AND t.task_id = d.task_id AND t.status::text = 'blocked'
     AND e.execution_id = t.execution_id AND y.agent_type = t.agent_type;
  RETURN FOUND;
END $$;

-- Tasks have ended: the next become ready, and those that can no longer run are skipped, wave after wave.
CREATE FUNCTION rowcast.tasks_ended(ended uuid[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  wave    uuid[] := ended;
  skipped uuid[];
BEGIN
  WHILE wave <> '{}' LOOP
    WITH behind AS (
      SELECT DISTINCT ON (d.task_id) d.task_id, b.name
        FROM @extschema@.agent_task_dependencies d JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on
       WHERE d.depends_on = ANY (wave) AND NOT rowcast.is_met(d.needs, b.status, b.passed)
       ORDER BY d.task_id, b.number),
    gone AS (
      UPDATE @extschema@.agent_tasks t SET status = 'skipped', because = b.name, ended_at = clock_timestamp()
        FROM behind b WHERE t.task_id = b.task_id AND t.status = 'blocked' RETURNING t.task_id)
    SELECT coalesce(array_agg(g.task_id), '{}') INTO skipped FROM gone g;
    PERFORM rowcast.count_down(b.task_id, rowcast.is_met('completed', b.status, b.passed))
      FROM @extschema@.agent_tasks b WHERE b.task_id = ANY (wave);
    wave := skipped;
  END LOOP;
END $$;

-- What was skipped behind a task that is open again, or that was passed over, can run after all, unless something else that
-- it needs has failed too.
CREATE FUNCTION rowcast.reopen_behind(task uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reopened uuid[];
  free     uuid[];
BEGIN
  LOOP
    WITH RECURSIVE behind AS (
      SELECT d.task_id FROM @extschema@.agent_task_dependencies d WHERE d.depends_on = task
      UNION
      SELECT d.task_id FROM behind b JOIN @extschema@.agent_task_dependencies d ON d.depends_on = b.task_id),
    counted AS (
      SELECT b.task_id, count(*) FILTER (WHERE rowcast.is_met(d.needs, n.status, n.passed) IS NULL) AS open
        FROM behind b JOIN @extschema@.agent_tasks t ON t.task_id = b.task_id AND t.status = 'skipped' AND NOT t.passed
        JOIN @extschema@.agent_task_dependencies d ON d.task_id = b.task_id
        JOIN @extschema@.agent_tasks n ON n.task_id = d.depends_on
       GROUP BY b.task_id HAVING bool_and(rowcast.is_met(d.needs, n.status, n.passed) IS NOT FALSE)),
    changed AS (
      UPDATE @extschema@.agent_tasks t SET status = 'blocked', because = NULL, ended_at = NULL, waits_for = c.open
        FROM counted c WHERE t.task_id = c.task_id RETURNING t.task_id, t.waits_for)
    SELECT coalesce(array_agg(c.task_id), '{}'), coalesce(array_agg(c.task_id) FILTER (WHERE c.waits_for = 0), '{}')
      INTO reopened, free FROM changed c;
    EXIT WHEN reopened = '{}';
    PERFORM rowcast.make_ready(free);
  END LOOP;
END $$;

CREATE FUNCTION rowcast.has_open(execution uuid) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.status IN ('blocked', 'ready', 'running', 'waiting'));
END $$;

CREATE FUNCTION rowcast.has_cancelled(execution uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.status = 'cancelled');
END $$;

CREATE FUNCTION rowcast.cancel_open(execution uuid, reason text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE @extschema@.agent_tasks t SET status = 'cancelled', because = reason, ended_at = clock_timestamp()
   WHERE t.execution_id = execution AND t.status IN ('blocked', 'ready', 'running', 'waiting')
$$;

-- Ends an execution whose tasks are all over, and pauses or stops it after a failure if it shall. `hold` is false when a
-- user has decided to go on.
CREATE FUNCTION rowcast.settle(execution uuid, hold boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  own    record;
  failed text;
BEGIN
  SELECT s.on_failure, e.status, rowcast.has_open(execution) AS has_open,
         EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.status = 'failed' AND NOT t.optional) AS has_failed
    INTO own FROM @extschema@.strategy_executions s JOIN @extschema@.agent_executions e USING (execution_id)
   WHERE s.execution_id = execution;
  IF own.status <> 'running' OR own.has_open AND NOT (own.has_failed AND own.on_failure = 'stop') THEN
    RETURN;
  END IF;
  IF own.has_open THEN
    PERFORM rowcast.cancel_open(execution, 'stopped after a failure');
  END IF;
  failed := (SELECT string_agg(t.name, ', ' ORDER BY t.number) FROM (SELECT * FROM @extschema@.agent_tasks t
    WHERE t.execution_id = execution AND t.status = 'failed' AND NOT t.optional ORDER BY t.number LIMIT 10) t);
  IF failed IS NULL AND NOT rowcast.has_cancelled(execution) THEN
    UPDATE @extschema@.agent_executions SET status = 'completed' WHERE execution_id = execution;
  ELSIF own.on_failure = 'hold' AND hold THEN
    UPDATE @extschema@.strategy_executions SET pause_reason = 'failed_tasks' WHERE execution_id = execution;
    UPDATE @extschema@.agent_executions SET status = 'paused' WHERE execution_id = execution;
  ELSE
    PERFORM rowcast.add_execution_log(execution, 'error', 'error', NULL, format('failed: %s', coalesce(left(failed, 900), 'no task can run')),
      jsonb_build_object('failed', failed));
    UPDATE @extschema@.agent_executions SET status = 'failed' WHERE execution_id = execution;
  END IF;
END $$;

-- Whether another execution of the venture with the same concurrency key is under way. A start elsewhere that has not committed counts:
-- to wait for it could deadlock, because both write to the channel of the venture.
CREATE FUNCTION rowcast.key_is_taken(execution uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own record;
BEGIN
  SELECT e.venture_id, s.concurrency_key AS key INTO own
    FROM @extschema@.strategy_executions s JOIN @extschema@.agent_executions e USING (execution_id) WHERE s.execution_id = execution;
  IF own.key IS NULL THEN
    RETURN false;
  ELSIF NOT pg_try_advisory_xact_lock(hashtextextended('rowcast execution key ' || own.venture_id || own.key, 0)) THEN
    RETURN true;
  END IF;
  -- In a statement of its own, whose snapshot is taken with the lock held: what held it before has committed.
  RETURN EXISTS (SELECT FROM @extschema@.strategy_executions s JOIN @extschema@.agent_executions e USING (execution_id)
    WHERE s.concurrency_key = own.key AND s.ended_at IS NULL AND s.started_at IS NOT NULL AND e.venture_id = own.venture_id);
END $$;

-- The status of an execution that the engine runs may be changed by any statement, so what has to follow does so here, and
-- what may not happen is refused here. Before the change: the tasks of an execution that ends must be over.
CREATE FUNCTION rowcast.execution_checks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.strategy_executions := (SELECT s FROM @extschema@.strategy_executions s WHERE s.execution_id = OLD.execution_id);
BEGIN
  IF own.execution_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF OLD.status IN ('completed', 'failed', 'cancelled') OR NEW.status = 'pending'
    OR NEW.status = 'running' AND OLD.status NOT IN ('pending', 'paused')
    OR NEW.status IN ('paused', 'completed', 'failed') AND OLD.status <> 'running'
  THEN
    PERFORM rowcast.refuse('state_conflict', format('execution %s is %s, and cannot become %s', OLD.execution_id, OLD.status, NEW.status));
  ELSIF NEW.status IN ('completed', 'failed') AND (rowcast.has_open(OLD.execution_id)
    OR (NEW.status = 'completed') = (rowcast.has_cancelled(OLD.execution_id) OR EXISTS (
      SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = OLD.execution_id AND t.status = 'failed' AND NOT t.optional)))
  THEN
    PERFORM rowcast.refuse('state_conflict',
      format('execution %s is run by the engine, which ends it with its last task. It can be paused or cancelled', OLD.execution_id));
  ELSIF NEW.status = 'running' AND OLD.status = 'pending' AND rowcast.key_is_taken(OLD.execution_id) THEN
    PERFORM rowcast.refuse('state_conflict', format('another execution with the key %s is under way', own.concurrency_key));
  ELSIF NEW.status = 'running' AND own.budget <= own.spent THEN
    PERFORM rowcast.refuse('budget_reached', format('execution %s has spent %s of %s', OLD.execution_id, own.spent, own.budget));
  ELSIF NEW.status = 'cancelled' THEN
    PERFORM rowcast.cancel_open(OLD.execution_id, 'the execution was cancelled');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER execution_checks BEFORE UPDATE OF status ON @extschema@.agent_executions
  FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION rowcast.execution_checks();

-- After the change, and after its event, which execution_changed has written: triggers fire in the order of their names.
CREATE FUNCTION rowcast.execution_followed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE @extschema@.strategy_executions s
     SET started_at = coalesce(s.started_at, CASE NEW.status WHEN 'running' THEN clock_timestamp() END),
         ended_at = CASE WHEN NEW.status IN ('completed', 'failed', 'cancelled') THEN clock_timestamp() END,
         pause_reason = CASE NEW.status WHEN 'paused' THEN coalesce(s.pause_reason, 'requested') END
   WHERE s.execution_id = NEW.execution_id;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF NEW.status = 'running' THEN
    PERFORM rowcast.make_ready(ARRAY(SELECT t.task_id FROM @extschema@.agent_tasks t
      WHERE t.execution_id = NEW.execution_id AND t.status = 'blocked' AND t.waits_for = 0));
    -- Time in which it was paused does not count as waiting. What a carrier has brought meanwhile was refused.
    UPDATE @extschema@.agent_tasks t SET held = false, sent_at = NULL, sendings = 0, due_at = clock_timestamp()
        + make_interval(secs => coalesce(t.due_seconds, CASE t.kind WHEN 'agent' THEN y.queue_timeout_seconds END))
      FROM @extschema@.agent_types y
     WHERE t.execution_id = NEW.execution_id AND t.status = 'ready' AND t.held AND y.agent_type = t.agent_type;
    PERFORM rowcast.settle(NEW.execution_id, false);
  ELSIF NEW.status = 'paused' THEN
    UPDATE @extschema@.agent_tasks t SET held = true WHERE t.execution_id = NEW.execution_id AND t.status = 'ready';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER execution_followed AFTER UPDATE OF status ON @extschema@.agent_executions
  FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION rowcast.execution_followed();

CREATE FUNCTION rowcast.execution_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE @extschema@.agent_tasks t SET venture_id = NEW.venture_id WHERE t.execution_id = NEW.execution_id;
  RETURN NULL;
END $$;
CREATE TRIGGER execution_moved AFTER UPDATE OF venture_id ON @extschema@.agent_executions
  FOR EACH ROW WHEN (OLD.venture_id <> NEW.venture_id) EXECUTE FUNCTION rowcast.execution_moved();
