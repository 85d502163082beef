-- How a carrier brings ready tasks to workers that do not claim: gateways send the news of a task, and the worker that gets it
-- calls begin_task, which decides. The outbox is sent_at and sendings of agent_tasks.

-- `carrier`: how the worker gets its tasks. `carried`: its slots by agent type.
ALTER TABLE @extschema@.agent_workers ADD COLUMN carrier text NOT NULL DEFAULT 'claims', ADD COLUMN carried jsonb;

CREATE INDEX agent_tasks_sent ON @extschema@.agent_tasks (agent_type, sent_at)
  WHERE status = 'ready' AND NOT held AND sent_at IS NOT NULL;

-- Remembers what a worker that has called worker_seen gets from which carrier: `slots` by agent type.
CREATE FUNCTION rowcast.worker_carries(worker text, carrier text, slots jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF carrier IS NULL OR length(carrier) NOT BETWEEN 1 AND 100 OR jsonb_typeof(slots) IS DISTINCT FROM 'object'
    OR EXISTS (SELECT FROM jsonb_each_text(slots) s WHERE s.value IS NULL OR s.value !~ '^([1-9]\d{0,2}|1000)$')
  THEN
    PERFORM rowcast.refuse('invalid_request', 'a carrier has a name of 1 to 100 characters, and slots from 1 to 1000 by agent type');
  END IF;
  UPDATE @extschema@.agent_workers w SET carrier = worker_carries.carrier, carried = worker_carries.slots
   WHERE w.worker_id = worker AND (w.carrier, w.carried) IS DISTINCT FROM (worker_carries.carrier, worker_carries.slots);
END $$;

-- How many more tasks of a type may be on their way: twice the slots of the workers that are alive, and no more than may
-- begin. So the order is decided here, not in the queue of a carrier.
CREATE FUNCTION rowcast.room_to_send(type @extschema@.agent_types, slots int) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  sent    constant int := (SELECT count(*) FROM @extschema@.agent_tasks t
    WHERE t.agent_type = type.agent_type AND t.status = 'ready' AND NOT t.held AND t.sent_at IS NOT NULL);
  running int;
BEGIN
  IF type.max_running IS NOT NULL THEN
    running := (SELECT count(*) FROM @extschema@.agent_tasks t WHERE t.agent_type = type.agent_type AND t.status = 'running');
  END IF;
  RETURN least(2 * slots, type.max_running - running,
    CASE WHEN type.rate_count IS NOT NULL THEN floor(rowcast.tokens_of(type))::int END) - sent;
END $$;

-- The first task of a type and a venture that could begin now and is not on its way; locked. Of a concurrency key one is on
-- its way at a time, and of an execution no more than may run.
CREATE FUNCTION rowcast.next_to_send(type text, venture uuid, moment timestamptz) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT t.task_id FROM @extschema@.agent_tasks t
   WHERE t.status = 'ready' AND NOT t.held AND t.kind = 'agent' AND t.agent_type = type AND t.venture_id = venture
     AND t.run_at <= moment AND t.sent_at IS NULL
     AND (t.concurrency_key IS NULL OR NOT EXISTS (SELECT FROM @extschema@.agent_tasks r
       WHERE r.venture_id = venture AND r.concurrency_key = t.concurrency_key
         AND (r.status = 'running' OR r.status = 'ready' AND NOT r.held AND r.sent_at IS NOT NULL)))
     AND EXISTS (SELECT FROM @extschema@.strategy_executions s
       WHERE s.execution_id = t.execution_id AND (s.max_parallel IS NULL OR s.max_parallel >
         (SELECT count(*) FROM @extschema@.agent_tasks r WHERE r.execution_id = t.execution_id
           AND (r.status = 'running' OR r.status = 'ready' AND NOT r.held AND r.sent_at IS NOT NULL))))
   ORDER BY t.priority DESC, t.run_at, t.number LIMIT 1 FOR NO KEY UPDATE OF t SKIP LOCKED);
END $$;

-- Takes from the outbox what a carrier shall bring now, and marks it as sent: tasks that are new, in the order in which a
-- claim would take them, and again those that were sent and have not begun, after `again_ms`, twice that, and so on up to a
-- minute. Nothing is taken for types that no living worker gets from this carrier, or while another call takes.
--
-- It locks tasks without their executions. It waits for no lock, so nothing can wait for it in a circle.
CREATE FUNCTION rowcast.send_tasks(carrier text, most int DEFAULT 100, again_ms int DEFAULT 4000)
RETURNS TABLE (task_id uuid, attempt int, agent_type text, priority smallint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  moment  constant timestamptz := clock_timestamp();
  served  record;
  venture uuid;
  room    int;
  before  int;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('rowcast carrier ' || send_tasks.carrier, 0)) THEN
    RETURN;
  END IF;
  FOR served IN
    SELECT y AS type, a.slots FROM (
      SELECT c.key, sum(c.value::int)::int AS slots FROM @extschema@.agent_workers w, jsonb_each_text(w.carried) c
       WHERE w.carrier = send_tasks.carrier AND rowcast.is_alive(w.seen_at) GROUP BY 1) a
      JOIN @extschema@.agent_types y ON y.agent_type = a.key WHERE y.enabled
  LOOP
    RETURN QUERY UPDATE @extschema@.agent_tasks t SET sent_at = moment, sendings = t.sendings + 1
     WHERE t.task_id IN (SELECT r.task_id FROM @extschema@.agent_tasks r
       WHERE r.status = 'ready' AND NOT r.held AND r.agent_type = (served.type).agent_type AND r.sent_at IS NOT NULL
         AND r.sent_at < moment - make_interval(secs => least(60, again_ms / 1000.0 * 2.0 ^ least(r.sendings - 1, 20)))
       ORDER BY r.sent_at LIMIT most FOR NO KEY UPDATE SKIP LOCKED)
     RETURNING t.task_id, t.attempt, t.agent_type, t.priority;
    room := least(most, rowcast.room_to_send(served.type, served.slots));
    WHILE room > 0 LOOP
      before := room;
      FOR venture IN SELECT v FROM unnest(rowcast.ventures_in_turn((served.type).agent_type)) WITH ORDINALITY v(v, nth) ORDER BY nth LOOP
        EXIT WHEN room = 0;
        RETURN QUERY UPDATE @extschema@.agent_tasks t SET sent_at = moment, sendings = t.sendings + 1
         WHERE t.task_id = (SELECT rowcast.next_to_send((served.type).agent_type, venture, moment))
         RETURNING t.task_id, t.attempt, t.agent_type, t.priority;
        CONTINUE WHEN NOT FOUND;
        room := room - 1;
        UPDATE @extschema@.agent_turns a SET served_at = clock_timestamp()
         WHERE (a.agent_type, a.venture_id) IN (SELECT n.agent_type, n.venture_id FROM @extschema@.agent_turns n
           WHERE n.agent_type = (served.type).agent_type AND n.venture_id = venture FOR NO KEY UPDATE SKIP LOCKED);
      END LOOP;
      EXIT WHEN room = before;
    END LOOP;
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION rowcast.worker_carries, rowcast.room_to_send, rowcast.next_to_send, rowcast.send_tasks
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.worker_carries TO agent_worker, service_role;
GRANT EXECUTE ON FUNCTION rowcast.send_tasks TO service_role;
