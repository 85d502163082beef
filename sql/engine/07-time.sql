-- What becomes due. Gateways call `overdue` and then `attend`, in a transaction for each execution.

CREATE FUNCTION rowcast.is_stalled(execution uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.status IN ('ready', 'running', 'waiting'))
$$;

-- Executions in which something is due, so many at most. `stalled`: also those whose open tasks can none of them run, which
-- should not exist.
CREATE FUNCTION rowcast.overdue(most int DEFAULT 100, stalled boolean DEFAULT false) RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT d.execution_id FROM (
    (SELECT t.execution_id FROM @extschema@.agent_tasks t WHERE t.status = 'running' AND t.lease_until < now() ORDER BY t.lease_until LIMIT most)
    UNION ALL
    (SELECT t.execution_id FROM @extschema@.agent_tasks t WHERE t.status = 'ready' AND NOT t.held AND t.due_at < now() ORDER BY t.due_at LIMIT most)
    UNION ALL
    (SELECT t.execution_id FROM @extschema@.agent_tasks t WHERE t.status = 'waiting' AND t.wait_until < now() ORDER BY t.wait_until LIMIT most)
    UNION ALL
    (SELECT s.execution_id FROM @extschema@.strategy_executions s WHERE s.ended_at IS NULL AND s.deadline_at < now() ORDER BY s.deadline_at LIMIT most)
    UNION ALL
    -- Of those that wait for a key, the one that has waited longest.
    (SELECT DISTINCT ON (e.venture_id, s.concurrency_key) s.execution_id
       FROM @extschema@.strategy_executions s JOIN @extschema@.agent_executions e USING (execution_id)
      WHERE s.concurrency_key IS NOT NULL AND s.ended_at IS NULL AND s.started_at IS NULL AND s.queued_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM @extschema@.strategy_executions o JOIN @extschema@.agent_executions x USING (execution_id)
          WHERE o.concurrency_key = s.concurrency_key AND o.ended_at IS NULL AND o.started_at IS NOT NULL AND x.venture_id = e.venture_id)
      ORDER BY e.venture_id, s.concurrency_key, s.queued_at LIMIT most)
    UNION ALL
    (SELECT s.execution_id FROM @extschema@.strategy_executions s JOIN @extschema@.agent_executions e USING (execution_id)
      WHERE stalled AND s.ended_at IS NULL AND e.status = 'running' AND rowcast.is_stalled(s.execution_id) LIMIT most)) d
   LIMIT most
$$;

-- Ends what has run out of time in one execution; false if another transaction has it.
CREATE FUNCTION rowcast.attend(execution uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  status rowcast.execution_status;
  own    @extschema@.agent_tasks;
  moment timestamptz;
BEGIN
  SELECT e.status INTO status FROM @extschema@.agent_executions e WHERE e.execution_id = execution FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  moment := clock_timestamp();
  IF EXISTS (SELECT FROM @extschema@.strategy_executions s WHERE s.execution_id = execution AND s.ended_at IS NULL AND s.deadline_at < moment) THEN
    PERFORM rowcast.add_execution_log(execution, 'error', 'error', NULL, 'the deadline has passed', '{"class": "deadline"}');
    UPDATE @extschema@.agent_executions e SET status = 'cancelled' WHERE e.execution_id = execution;
    RETURN true;
  END IF;
  IF status = 'pending' THEN
    IF EXISTS (SELECT FROM @extschema@.strategy_executions s WHERE s.execution_id = execution AND s.queued_at IS NOT NULL)
      AND NOT rowcast.key_is_taken(execution)
    THEN
      UPDATE @extschema@.agent_executions e SET status = 'running' WHERE e.execution_id = execution;
    END IF;
    RETURN true;
  END IF;
  PERFORM rowcast.wake_tasks(ARRAY(SELECT t.task_id FROM @extschema@.agent_tasks t
    WHERE t.execution_id = execution AND t.status = 'waiting' AND t.wait_until < moment));
  LOOP
    -- One at a time: the end of one may be the end of the others.
    SELECT t.* INTO own FROM @extschema@.agent_tasks t
     WHERE t.execution_id = execution AND (t.status = 'running' AND t.lease_until < moment
       OR t.status = 'ready' AND NOT t.held AND t.due_at < moment) ORDER BY t.number LIMIT 1;
    EXIT WHEN NOT FOUND;
    -- Without its lease a late report changes nothing.
    UPDATE @extschema@.agent_tasks t SET lease = NULL WHERE t.task_id = own.task_id;
    PERFORM rowcast.end_attempt(own, CASE
      WHEN own.status = 'ready' THEN jsonb_build_object('class', 'agent_unavailable', 'message', CASE own.kind
        WHEN 'human' THEN 'nothing was decided in time' ELSE format('no worker for %s took it in time', own.agent_type) END)
      WHEN own.timeout_at <= moment THEN jsonb_build_object('class', 'timeout', 'message', 'the attempt took too long')
      ELSE jsonb_build_object('class', 'worker_lost', 'message', format('worker lost: %s', own.worker_id)) END);
  END LOOP;
  IF status = 'running' AND rowcast.is_stalled(execution) THEN
    PERFORM rowcast.cancel_open(execution, 'no task can run'), rowcast.settle(execution, false);
  END IF;
  RETURN true;
END $$;

-- Removes what is no longer needed; so many rows at most.
CREATE FUNCTION rowcast.sweep_engine(batch int DEFAULT 1000) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH workers AS (
    DELETE FROM @extschema@.agent_workers WHERE worker_id IN (SELECT w.worker_id FROM @extschema@.agent_workers w
      WHERE w.seen_at < now() - interval '1 day' LIMIT batch FOR UPDATE SKIP LOCKED) RETURNING 1)
  SELECT count(*) FROM workers
$$;

-- Deletes the next part of the log of an execution that has ended, or the execution itself once nothing of its log is left.
-- Returns whether there is more of it. Parts, so that no transaction takes long; the log first, because its writers lock its
-- channel before the row of the execution.
CREATE FUNCTION rowcast.purge_execution(execution uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM @extschema@.strategy_executions s WHERE s.execution_id = execution AND s.ended_at IS NOT NULL) THEN
    RETURN false;
  END IF;
  DELETE FROM @extschema@.agent_execution_logs l WHERE l.execution_id = execution
    AND l.seq < (SELECT min(m.seq) FROM @extschema@.agent_execution_logs m WHERE m.execution_id = execution) + 20000;
  IF FOUND THEN
    RETURN true;
  END IF;
  DELETE FROM @extschema@.agent_executions e WHERE e.execution_id = execution;
  RETURN false;
END $$;
