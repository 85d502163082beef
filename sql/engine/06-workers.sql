-- What workers call: they claim a task, tell how it goes, and report its end with the lease of the claim.

-- Whether the caller may work on tasks of a type and a venture: the token of a worker may name those it may take. Without FROM, so
-- that it becomes part of the statements that call it.
CREATE FUNCTION rowcast.may_work(type text, venture uuid) RETURNS boolean
LANGUAGE sql STABLE
RETURN (jsonb_typeof(nullif(current_setting('request.jwt.claims', true), '')::jsonb -> 'agent_types') IS DISTINCT FROM 'array'
    OR current_setting('request.jwt.claims', true)::jsonb -> 'agent_types' ? type)
  AND (jsonb_typeof(nullif(current_setting('request.jwt.claims', true), '')::jsonb -> 'ventures') IS DISTINCT FROM 'array'
    OR current_setting('request.jwt.claims', true)::jsonb -> 'ventures' ? venture::text);

-- The policy of a type, if one more task of it may begin; else null. A type with a limit is locked until the transaction ends, so
-- that no other transaction counts meanwhile. A caller that holds an execution must not wait: claims take the type first.
CREATE FUNCTION rowcast.admit_type(type text, wait boolean) RETURNS @extschema@.agent_types
LANGUAGE plpgsql
AS $$
DECLARE
  own @extschema@.agent_types;
BEGIN
  SELECT * INTO own FROM @extschema@.agent_types y WHERE y.agent_type = type;
  IF own.max_running IS NOT NULL OR own.rate_count IS NOT NULL THEN
    IF wait THEN
      SELECT * INTO own FROM @extschema@.agent_types y WHERE y.agent_type = type FOR NO KEY UPDATE;
    ELSE
      SELECT * INTO own FROM @extschema@.agent_types y WHERE y.agent_type = type FOR NO KEY UPDATE SKIP LOCKED;
    END IF;
  END IF;
  IF own.enabled
    AND (own.max_running IS NULL
      OR (SELECT count(*) FROM @extschema@.agent_tasks t WHERE t.agent_type = type AND t.status = 'running') < own.max_running)
    AND (own.rate_count IS NULL OR rowcast.tokens_of(own) >= 1)
  THEN
    RETURN own;
  END IF;
  RETURN NULL;
END $$;

-- A bucket that holds rate_count, and fills in rate_seconds.
CREATE FUNCTION rowcast.tokens_of(type @extschema@.agent_types) RETURNS double precision
LANGUAGE sql
AS $$
  SELECT CASE WHEN type.rate_at = '-infinity' THEN type.rate_count ELSE least(type.rate_count, type.rate_tokens
    + extract(epoch FROM clock_timestamp() - type.rate_at) * type.rate_count / type.rate_seconds) END
$$;

-- What a worker gets of a task that it runs.
CREATE FUNCTION rowcast.claim_of(t @extschema@.agent_tasks) RETURNS jsonb
LANGUAGE plpgsql
AS $$
BEGIN
  RETURN jsonb_build_object('task_id', t.task_id, 'execution_id', t.execution_id, 'venture_id', t.venture_id, 'name', t.name,
    'agent_type', t.agent_type, 'attempt', t.attempt, 'input', t.input, 'checkpoint', t.checkpoint, 'lease', t.lease,
    'lease_ms', (extract(epoch FROM t.lease_until - clock_timestamp()) * 1000)::int,
    'timeout_ms', (extract(epoch FROM t.timeout_at - clock_timestamp()) * 1000)::int,
    'results', (SELECT coalesce(jsonb_object_agg(b.name, b.output), '{}') FROM @extschema@.agent_task_dependencies d
      JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on WHERE d.task_id = t.task_id AND b.status = 'completed'));
END $$;

-- Begins an attempt, if it may begin: null if not. The execution is locked, and its type admits one more. A task that is ready
-- is held exactly while its execution is not running.
CREATE FUNCTION rowcast.assign_task(task uuid, worker text, policy @extschema@.agent_types, lease uuid) RETURNS jsonb
LANGUAGE plpgsql
AS $$
DECLARE
  own     record;
  claimed jsonb;
BEGIN
  SELECT t.status, t.held, t.kind, t.run_at, t.execution_id, t.venture_id, t.concurrency_key AS key, s.max_parallel INTO own
    FROM @extschema@.agent_tasks t JOIN @extschema@.strategy_executions s USING (execution_id) WHERE t.task_id = task;
  -- Not in the UPDATE, whose plan could read the index of all that is ready.
  IF own.status <> 'ready' OR own.held OR own.kind <> 'agent' OR own.run_at > clock_timestamp()
    OR own.key IS NOT NULL AND NOT pg_try_advisory_xact_lock(hashtextextended('rowcast key ' || own.venture_id || own.key, 0))
  THEN
    RETURN NULL;
  END IF;
  -- In a statement of its own, whose snapshot is taken with the lock held: what held it before has committed.
  IF own.key IS NOT NULL AND EXISTS (SELECT FROM @extschema@.agent_tasks t
      WHERE t.venture_id = own.venture_id AND t.concurrency_key = own.key AND t.status = 'running')
    OR own.max_parallel <= (SELECT count(*) FROM @extschema@.agent_tasks t WHERE t.execution_id = own.execution_id AND t.status = 'running')
  THEN
    RETURN NULL;
  END IF;
  UPDATE @extschema@.agent_tasks t
     SET status = 'running', lease = assign_task.lease, worker_id = worker, started_at = clock_timestamp(), due_at = NULL, said_at = NULL,
         usage = NULL, timeout_at = clock_timestamp() + make_interval(secs => policy.timeout_seconds),
         lease_until = clock_timestamp() + make_interval(secs => least(policy.lease_seconds, policy.timeout_seconds))
   WHERE t.task_id = task
   RETURNING rowcast.claim_of(t) INTO claimed;
  IF policy.rate_count IS NOT NULL THEN
    UPDATE @extschema@.agent_types y SET rate_tokens = rowcast.tokens_of(y) - 1, rate_at = clock_timestamp()
     WHERE y.agent_type = policy.agent_type;
  END IF;
  RETURN claimed;
END $$;

-- The ventures that have work for a type, the one that was served longest ago first. Skips from one to the next in the index.
CREATE FUNCTION rowcast.ventures_in_turn(type text) RETURNS uuid[]
LANGUAGE plpgsql
AS $$
BEGIN
  RETURN (WITH RECURSIVE waiting AS (
    (SELECT t.venture_id FROM @extschema@.agent_tasks t WHERE t.status = 'ready' AND NOT t.held AND t.kind = 'agent' AND t.agent_type = type
      ORDER BY t.venture_id LIMIT 1)
    UNION ALL
    SELECT (SELECT t.venture_id FROM @extschema@.agent_tasks t WHERE t.status = 'ready' AND NOT t.held AND t.kind = 'agent'
        AND t.agent_type = type AND t.venture_id > w.venture_id ORDER BY t.venture_id LIMIT 1)
      FROM waiting w WHERE w.venture_id IS NOT NULL)
  SELECT array_agg(w.venture_id ORDER BY a.served_at NULLS FIRST, w.venture_id) FROM waiting w
    LEFT JOIN @extschema@.agent_turns a ON a.agent_type = type AND a.venture_id = w.venture_id
   WHERE w.venture_id IS NOT NULL);
END $$;

-- Begins the next task of a type. Ventures take turns; within one the highest priority comes first.
--
-- It passes over what other transactions have locked, and waits for nothing, so that a transaction that has one execution locked
-- may take a task of another. The channel of the log is locked as well, because a writer of the application may have it.
-- `wait`: the caller has no execution locked. It waits for that of the first task that could begin, once. `locked`: without having
-- begun a task it has locked an execution, so that no other may be waited for in this transaction.
CREATE FUNCTION rowcast.take_task(worker text, policy @extschema@.agent_types, wait boolean, lease uuid, OUT claimed jsonb, OUT locked boolean)
LANGUAGE plpgsql
AS $$
DECLARE
  moment    constant timestamptz := clock_timestamp();
  stream    constant int := (SELECT s.stream_id FROM rowcast.streams s WHERE s.relation = '@extschema@.agent_execution_logs'::regclass);
  type      constant text := policy.agent_type;
  ventures  constant uuid[] := rowcast.ventures_in_turn(type);
  alone     constant boolean := cardinality(ventures) = 1; -- nothing to be fair to
  venture   uuid;
  others    uuid[] := '{}';
  candidate record;
BEGIN
  locked := false;
  -- Those that another claim is serving come last.
  FOR nth IN 1 .. 2 * coalesce(cardinality(ventures), 0) LOOP
    venture := (ventures || others)[nth];
    EXIT WHEN venture IS NULL;
    CONTINUE WHEN NOT rowcast.may_work(type, venture);
    IF NOT alone AND nth <= cardinality(ventures) THEN
      PERFORM FROM @extschema@.agent_turns a WHERE a.agent_type = type AND a.venture_id = venture FOR NO KEY UPDATE SKIP LOCKED;
      IF NOT FOUND THEN
        others := others || venture;
        CONTINUE;
      END IF;
    END IF;
    FOR candidate IN
      SELECT t.task_id, t.execution_id FROM @extschema@.agent_tasks t
       WHERE t.status = 'ready' AND NOT t.held AND t.kind = 'agent' AND t.agent_type = type AND t.venture_id = venture AND t.run_at <= moment
         AND (t.concurrency_key IS NULL OR NOT EXISTS (SELECT FROM @extschema@.agent_tasks r
           WHERE r.venture_id = venture AND r.concurrency_key = t.concurrency_key AND r.status = 'running'))
         AND EXISTS (SELECT FROM @extschema@.strategy_executions s
           WHERE s.execution_id = t.execution_id AND (s.max_parallel IS NULL OR s.max_parallel >
             (SELECT count(*) FROM @extschema@.agent_tasks r WHERE r.execution_id = t.execution_id AND r.status = 'running')))
       ORDER BY t.priority DESC, t.run_at, t.number LIMIT 16
    LOOP
      IF wait THEN
        PERFORM FROM @extschema@.agent_executions e WHERE e.execution_id = candidate.execution_id FOR NO KEY UPDATE;
        -- Again, because others may have taken what it has found.
        claimed := (SELECT n.claimed FROM rowcast.take_task(worker, policy, false, lease) n);
        locked := true;
        RETURN;
      END IF;
      PERFORM FROM @extschema@.agent_executions e JOIN rowcast.channels c ON c.stream_id = stream AND c.key = e.execution_id::text
        WHERE e.execution_id = candidate.execution_id FOR NO KEY UPDATE SKIP LOCKED;
      CONTINUE WHEN NOT FOUND;
      claimed := rowcast.assign_task(candidate.task_id, worker, policy, lease);
      IF claimed IS NOT NULL THEN
        UPDATE @extschema@.agent_turns a SET served_at = clock_timestamp()
         WHERE NOT alone AND (a.agent_type, a.venture_id) IN (SELECT n.agent_type, n.venture_id FROM @extschema@.agent_turns n
           WHERE n.agent_type = type AND n.venture_id = venture FOR NO KEY UPDATE SKIP LOCKED);
        RETURN;
      END IF;
      locked := true;
    END LOOP;
  END LOOP;
END $$;

-- Claims the next task of one of these types, or null.
--
-- First it looks only at what no other transaction has locked. If it finds nothing, it looks again and waits for what is locked: else
-- a worker would sleep although there is work. It never waits with two executions locked, so claims cannot wait for each other.
CREATE FUNCTION rowcast.claim_task(worker text, types text[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment   constant timestamptz := clock_timestamp();
  asked    boolean := false;
  admitted @extschema@.agent_types[] := '{}';
  type     text;
  policy   @extschema@.agent_types;
  claimed  jsonb;
  locked   boolean;
  in_vain  boolean := false;
BEGIN
  PERFORM rowcast.worker_seen(worker, types);
  -- In any order: else the last of them would starve.
  FOR type IN SELECT t FROM unnest(types) t WHERE t IS NOT NULL ORDER BY random() LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM @extschema@.agent_tasks t
      WHERE t.status = 'ready' AND NOT t.held AND t.kind = 'agent' AND t.agent_type = type AND t.run_at <= moment);
    -- It waits for the lock of the first type only: claims that wait with one type locked for another could meet.
    policy := rowcast.admit_type(type, NOT asked);
    asked := true;
    CONTINUE WHEN policy.agent_type IS NULL;
    SELECT * INTO claimed, locked FROM rowcast.take_task(worker, policy, false, gen_random_uuid());
    IF claimed IS NOT NULL THEN
      RETURN claimed;
    END IF;
    in_vain := in_vain OR locked;
    admitted := admitted || policy;
  END LOOP;
  IF in_vain THEN -- it holds an execution, and may wait for no other
    RETURN NULL;
  END IF;
  FOREACH policy IN ARRAY admitted LOOP
    SELECT * INTO claimed, locked FROM rowcast.take_task(worker, policy, true, gen_random_uuid());
    EXIT WHEN locked;
  END LOOP;
  RETURN claimed;
END $$;

-- Remembers that a worker is alive; at most every few seconds, because the calls of a worker must not wait for each other.
CREATE FUNCTION rowcast.worker_seen(worker text, types text[], slots int DEFAULT NULL, version text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF worker IS NULL OR length(worker) NOT BETWEEN 1 AND 200 OR types IS NULL THEN
    PERFORM rowcast.refuse('invalid_request', 'a worker has a name of 1 to 200 characters, and types');
  END IF;
  IF NOT EXISTS (SELECT FROM @extschema@.agent_workers w WHERE w.worker_id = worker AND w.seen_at > clock_timestamp() - interval '5 seconds'
    AND (worker_seen.slots IS NULL OR w.slots = worker_seen.slots) AND w.agent_types @> types)
  THEN
    INSERT INTO @extschema@.agent_workers AS w (worker_id, agent_types, slots, version)
      VALUES (worker, types, worker_seen.slots, worker_seen.version)
      ON CONFLICT (worker_id) DO UPDATE SET seen_at = clock_timestamp(), slots = coalesce(excluded.slots, w.slots),
        version = coalesce(excluded.version, w.version),
        agent_types = CASE WHEN excluded.slots IS NULL THEN
          ARRAY(SELECT unnest(w.agent_types) UNION SELECT unnest(excluded.agent_types) ORDER BY 1) ELSE excluded.agent_types END;
  END IF;
END $$;

-- Begins an attempt that a carrier has brought: null if it has begun already, or may not begin.
CREATE FUNCTION rowcast.begin_task(task uuid, attempt int, worker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    @extschema@.agent_tasks := (SELECT t FROM @extschema@.agent_tasks t WHERE t.task_id = task);
  policy @extschema@.agent_types;
BEGIN
  IF own.task_id IS NULL OR NOT rowcast.may_work(own.agent_type, own.venture_id) THEN
    RETURN NULL;
  END IF;
  policy := rowcast.admit_type(own.agent_type, true);
  IF policy.agent_type IS NULL THEN
    RETURN NULL;
  END IF;
  PERFORM FROM @extschema@.agent_executions e WHERE e.execution_id = own.execution_id FOR NO KEY UPDATE;
  IF NOT EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.task_id = task AND t.attempt = begin_task.attempt AND t.status = 'ready') THEN
    RETURN NULL;
  END IF;
  RETURN rowcast.assign_task(task, worker, policy, gen_random_uuid());
END $$;

-- Locks the execution of a task, and returns the task if the lease is its present one; else null.
CREATE FUNCTION rowcast.lock_lease(task uuid, lease uuid) RETURNS @extschema@.agent_tasks
LANGUAGE plpgsql
AS $$
DECLARE
  own @extschema@.agent_tasks;
BEGIN
  PERFORM FROM @extschema@.agent_executions e JOIN @extschema@.agent_tasks t USING (execution_id)
    WHERE t.task_id = task AND rowcast.may_work(t.agent_type, t.venture_id) FOR NO KEY UPDATE OF e;
  IF FOUND THEN
    SELECT t.* INTO own FROM @extschema@.agent_tasks t WHERE t.task_id = task AND t.lease = lock_lease.lease;
  END IF;
  RETURN own;
END $$;

-- What an attempt has used so far. Its cost counts against the budget and the cost limit of the execution.
CREATE FUNCTION rowcast.spend(task @extschema@.agent_tasks, usage jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  more numeric := coalesce(CASE jsonb_typeof(usage -> 'cost') WHEN 'number' THEN (usage ->> 'cost')::numeric END, 0)
    - coalesce(CASE jsonb_typeof(task.usage -> 'cost') WHEN 'number' THEN (task.usage ->> 'cost')::numeric END, 0);
BEGIN
  UPDATE @extschema@.agent_tasks t SET usage = spend.usage WHERE t.task_id = task.task_id;
  UPDATE @extschema@.strategy_executions s SET spent = s.spent + greatest(more, 0) WHERE s.execution_id = task.execution_id AND more > 0;
END $$;

-- Cancels an execution that has reached its cost limit, and pauses one that has spent its budget.
CREATE FUNCTION rowcast.hold_spent(execution uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM @extschema@.strategy_executions s WHERE s.execution_id = execution AND s.ended_at IS NULL AND s.spent >= s.cost_limit) THEN
    PERFORM rowcast.add_execution_log(execution, 'error', 'error', NULL, 'the cost limit is reached', '{"class": "cost_limit"}');
    UPDATE @extschema@.agent_executions e SET status = 'cancelled' WHERE e.execution_id = execution;
    RETURN;
  END IF;
  UPDATE @extschema@.strategy_executions s SET pause_reason = 'budget'
    FROM @extschema@.agent_executions e WHERE s.execution_id = execution AND e.execution_id = execution AND e.status = 'running' AND s.spent >= s.budget;
  IF FOUND THEN
    UPDATE @extschema@.agent_executions e SET status = 'paused' WHERE e.execution_id = execution;
  END IF;
END $$;

-- Refuses what is too large for a row that every reader of the log gets.
CREATE FUNCTION rowcast.check_size(what text, value jsonb, most int) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  IF octet_length(value::text) > most THEN
    PERFORM rowcast.refuse('invalid_request', format('the %s has %s bytes; %s are allowed', what, octet_length(value::text), most));
  END IF;
END $$;

-- Lengthens the lease. `report` may hold percent, message, usage and checkpoint. Answers `continue`, `cancelled` or `lost`.
CREATE FUNCTION rowcast.heartbeat_task(task uuid, lease uuid, report jsonb DEFAULT '{}') RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_lease(task, lease);
  says boolean := report ?| ARRAY['percent', 'message'] AND coalesce(own.said_at < clock_timestamp() - interval '1 second', true);
BEGIN
  IF own.status IS DISTINCT FROM 'running' THEN
    RETURN CASE own.status WHEN 'cancelled' THEN 'cancelled' ELSE 'lost' END;
  END IF;
  PERFORM rowcast.check_size('checkpoint', report -> 'checkpoint', 65536);
  UPDATE @extschema@.agent_tasks t
     SET lease_until = least(clock_timestamp() + make_interval(secs => y.lease_seconds), t.timeout_at),
         checkpoint = coalesce(report -> 'checkpoint', t.checkpoint), said_at = CASE WHEN says THEN clock_timestamp() ELSE t.said_at END
    FROM @extschema@.agent_types y WHERE t.task_id = task AND y.agent_type = t.agent_type;
  IF says THEN
    PERFORM rowcast.add_execution_log(own.execution_id, 'task-progress', 'info', own.stage_number,
      left(coalesce(report ->> 'message', format('%s: %s %%', own.name, report ->> 'percent')), 1000),
      jsonb_build_object('step_id', own.task_id, 'step', own.name, 'agent', own.agent_type, 'attempt', own.attempt)
        || CASE jsonb_typeof(report -> 'percent') WHEN 'number' THEN jsonb_build_object('percent', report -> 'percent') ELSE '{}' END);
  END IF;
  IF report ? 'usage' THEN
    PERFORM rowcast.spend(own, report -> 'usage'), rowcast.hold_spent(own.execution_id);
    IF EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.task_id = task AND t.status = 'cancelled') THEN
      RETURN 'cancelled';
    END IF;
  END IF;
  RETURN 'continue';
END $$;

-- Ends an attempt that has succeeded. `own`: its task, if the lease is the present one; the execution is locked.
CREATE FUNCTION rowcast.end_well(own @extschema@.agent_tasks, output jsonb, usage jsonb) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
  IF own.status IS DISTINCT FROM 'running' THEN
    RETURN coalesce(own.status = 'completed', false);
  END IF;
  IF output IS NOT NULL THEN
    PERFORM rowcast.check_size('output', output, 262144);
  END IF;
  IF usage IS NOT NULL THEN
    PERFORM rowcast.spend(own, usage);
  END IF;
  UPDATE @extschema@.agent_tasks t SET status = 'completed', output = end_well.output, error = NULL, ended_at = clock_timestamp()
   WHERE t.task_id = own.task_id;
  IF NOT rowcast.count_down(own.task_id, true) THEN -- else something is open
    PERFORM rowcast.settle(own.execution_id);
  END IF;
  IF usage IS NOT NULL THEN
    PERFORM rowcast.hold_spent(own.execution_id);
  END IF;
  RETURN true;
END $$;

-- Reports that the task is done: false if the lease was lost. The same report again is answered as the first time.
CREATE FUNCTION rowcast.complete_task(task uuid, lease uuid, output jsonb DEFAULT NULL, usage jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN rowcast.end_well(rowcast.lock_lease(task, lease), output, usage);
END $$;

-- Completes, and hands over the next task of the same type: what a claim would get that finds nothing locked. `next` is null if there is
-- none, and the worker claims.
CREATE FUNCTION rowcast.complete_and_claim(task uuid, lease uuid, output jsonb, usage jsonb, worker text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own     constant @extschema@.agent_tasks := rowcast.lock_lease(task, lease);
  done    constant boolean := rowcast.end_well(own, output, usage);
  follows constant uuid := md5(lease::text)::uuid; -- the lease of the next task: so a repeated call finds what was handed over
  policy  @extschema@.agent_types;
  claimed jsonb;
BEGIN
  IF done AND own.status = 'completed' THEN
    claimed := (SELECT rowcast.claim_of(t) FROM @extschema@.agent_tasks t
      WHERE t.status = 'running' AND t.worker_id = worker AND t.lease = follows);
  ELSIF done THEN
    policy := rowcast.admit_type(own.agent_type, false);
    IF policy.agent_type IS NOT NULL THEN
      claimed := (SELECT n.claimed FROM rowcast.take_task(worker, policy, false, follows) n);
    END IF;
  END IF;
  RETURN jsonb_build_object('done', done, 'next', claimed);
END $$;

-- Ends an attempt that did not succeed: again after a delay, if its class of error and its attempts allow that; else failed.
CREATE FUNCTION rowcast.end_attempt(own @extschema@.agent_tasks, error jsonb) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  policy @extschema@.agent_types := (SELECT y FROM @extschema@.agent_types y WHERE y.agent_type = own.agent_type);
  delay  double precision := coalesce(
    CASE jsonb_typeof(error -> 'retry_after_ms') WHEN 'number' THEN least((error ->> 'retry_after_ms')::double precision, 86400000) END,
    CASE WHEN error ->> 'class' = 'worker_lost' THEN 0
      WHEN policy.backoff = 'linear' THEN least(policy.backoff_cap_ms, policy.backoff_base_ms::double precision * own.attempt)
      ELSE random() * least(policy.backoff_cap_ms, policy.backoff_base_ms * 2.0 ^ least(own.attempt - 1, 30)) END);
BEGIN
  IF own.status = 'running' AND error ->> 'class' = ANY (policy.retry_on) AND own.attempt < own.max_attempts THEN
    UPDATE @extschema@.agent_tasks t SET status = 'ready', attempt = t.attempt + 1, error = end_attempt.error, lease_until = NULL,
        run_at = clock_timestamp() + make_interval(secs => delay / 1000), held = e.status <> 'running', sent_at = NULL, sendings = 0,
        due_at = clock_timestamp() + make_interval(secs => delay / 1000 + coalesce(own.due_seconds, policy.queue_timeout_seconds))
      FROM @extschema@.agent_executions e WHERE t.task_id = own.task_id AND e.execution_id = own.execution_id;
    RETURN;
  END IF;
  UPDATE @extschema@.agent_tasks t SET status = 'failed', error = end_attempt.error, ended_at = clock_timestamp() WHERE t.task_id = own.task_id;
  PERFORM rowcast.tasks_ended(ARRAY[own.task_id]), rowcast.settle(own.execution_id);
END $$;

-- Reports a failure: `error` holds class, code, message and retry_after_ms. False if the lease was lost.
CREATE FUNCTION rowcast.fail_task(task uuid, lease uuid, error jsonb DEFAULT '{}', usage jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_lease(task, lease);
BEGIN
  IF own.status IS DISTINCT FROM 'running' THEN
    -- The same report again: the lease is still that of the attempt that has failed.
    RETURN coalesce(own.status IN ('failed', 'ready') AND own.error IS NOT NULL, false);
  END IF;
  IF usage IS NOT NULL THEN
    PERFORM rowcast.spend(own, usage);
  END IF;
  PERFORM rowcast.end_attempt(own, jsonb_strip_nulls(jsonb_build_object('class', coalesce(left(error ->> 'class', 100), 'permanent'),
    'code', left(error ->> 'code', 100), 'message', left(error ->> 'message', 1000), 'retry_after_ms', error -> 'retry_after_ms')));
  IF usage IS NOT NULL THEN
    PERFORM rowcast.hold_spent(own.execution_id);
  END IF;
  RETURN true;
END $$;

-- Gives a task back: it begins again with the same attempt.
CREATE FUNCTION rowcast.release_task(task uuid, lease uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_lease(task, lease);
BEGIN
  IF own.status IS DISTINCT FROM 'running' THEN
    RETURN false;
  END IF;
  UPDATE @extschema@.agent_tasks t SET lease = NULL, lease_until = NULL, worker_id = NULL WHERE t.task_id = task;
  PERFORM rowcast.make_ready(ARRAY[task]);
  RETURN true;
END $$;

-- Gives the slot back until a signal comes, or until a time. If the signal is there already, the task is ready at once.
CREATE FUNCTION rowcast.wait_task(task uuid, lease uuid, signal text, until timestamptz DEFAULT NULL, checkpoint jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own @extschema@.agent_tasks := rowcast.lock_lease(task, lease);
BEGIN
  IF own.status IS DISTINCT FROM 'running' THEN
    RETURN false;
  ELSIF signal IS NULL AND until IS NULL THEN
    PERFORM rowcast.refuse('invalid_request', 'a task waits for a signal or for a time');
  END IF;
  PERFORM rowcast.check_size('checkpoint', checkpoint, 65536);
  UPDATE @extschema@.agent_tasks t SET status = 'waiting', signal = wait_task.signal, wait_until = until, lease = NULL, lease_until = NULL,
      worker_id = NULL, checkpoint = coalesce(wait_task.checkpoint, t.checkpoint)
   WHERE t.task_id = task;
  PERFORM rowcast.wake_tasks(ARRAY[task]) FROM @extschema@.execution_signals s WHERE s.execution_id = own.execution_id AND s.name = signal;
  RETURN true;
END $$;

-- Which of these leases do not hold any more, and why: `cancelled` or `lost`. Workers ask for all that they run at once.
CREATE FUNCTION rowcast.lost_leases(leases jsonb) RETURNS TABLE (task_id uuid, answer text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT l.key::uuid, CASE t.status WHEN 'cancelled' THEN 'cancelled' ELSE 'lost' END
    FROM jsonb_each_text(leases) l LEFT JOIN @extschema@.agent_tasks t ON t.task_id = l.key::uuid AND t.lease = l.value::uuid
   WHERE t.status IS DISTINCT FROM 'running'
$$;
