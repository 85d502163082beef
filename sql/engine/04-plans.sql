-- Plans become tasks. A plan is refused as a whole, before anything is written, if a task waits for one that is not there
-- or for itself by way of others.

-- The tasks of a plan with what they need, one row for each need; `needs` is null for a task that needs nothing.
CREATE FUNCTION rowcast.needs_of(tasks jsonb) RETURNS TABLE (name text, needs text, mode text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t ->> 'name', CASE jsonb_typeof(n) WHEN 'string' THEN n #>> '{}' ELSE n ->> 'task' END, coalesce(n ->> 'on', 'completed')
    FROM jsonb_array_elements(tasks) t
    LEFT JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(t -> 'needs') WHEN 'array' THEN t -> 'needs' ELSE '[]' END) n ON true
$$;

-- A cycle in a plan, such as `a → b → a`; null if there is none. Takes away what waits for nothing that is left, again and again.
CREATE FUNCTION rowcast.cycle_in(tasks jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  left_over text[];
  fewer     text[];
  names     text[];
  needs     text[];
  way       text[];
  step      text;
BEGIN
  SELECT array_agg(n.name), array_agg(n.needs) INTO names, needs FROM rowcast.needs_of(tasks) n WHERE n.needs IS NOT NULL;
  left_over := ARRAY(SELECT DISTINCT n FROM unnest(names) n);
  LOOP
    fewer := ARRAY(SELECT DISTINCT n.name FROM unnest(names, needs) n(name, needs)
      WHERE n.name = ANY (left_over) AND n.needs = ANY (left_over) ORDER BY 1);
    EXIT WHEN cardinality(fewer) = cardinality(left_over);
    left_over := fewer;
  END LOOP;
  IF left_over = '{}' THEN
    RETURN NULL;
  END IF;
  step := left_over[1];
  WHILE step <> ALL (coalesce(way, '{}')) LOOP
    way := way || step;
    step := (SELECT n.needs FROM unnest(names, needs) n(name, needs) WHERE n.name = step AND n.needs = ANY (left_over) LIMIT 1);
  END LOOP;
  RETURN array_to_string(way[array_position(way, step):] || step, ' → ');
END $$;

-- Adds tasks to an execution, whose row is locked or new. `needs` may name tasks of the plan and tasks that are there.
CREATE FUNCTION rowcast.insert_tasks(execution uuid, venture uuid, tasks jsonb) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  max_tasks constant int := 10000;
  own      @extschema@.strategy_executions := (SELECT s FROM @extschema@.strategy_executions s WHERE s.execution_id = execution);
  problem  text;
  added    int;
BEGIN
  IF jsonb_typeof(tasks) IS DISTINCT FROM 'array' OR own.total_tasks + jsonb_array_length(tasks) > max_tasks THEN
    PERFORM rowcast.refuse('plan_invalid', format('the tasks are not an array, or are more than %s', max_tasks));
  END IF;
  problem := (SELECT format('%s tasks have the name %s', count(*), name) FROM (
      SELECT coalesce(t ->> 'name', '') AS name FROM jsonb_array_elements(tasks) t
      UNION ALL SELECT t.name FROM @extschema@.agent_tasks t WHERE t.execution_id = execution) n
    GROUP BY name HAVING count(*) > 1 LIMIT 1);
  problem := coalesce(problem, (SELECT format('task %s needs %s, which is not a task', n.name, n.needs) FROM rowcast.needs_of(tasks) n
    WHERE n.needs IS NOT NULL AND NOT EXISTS (SELECT FROM jsonb_array_elements(tasks) t WHERE t ->> 'name' = n.needs)
      AND NOT EXISTS (SELECT FROM @extschema@.agent_tasks t WHERE t.execution_id = execution AND t.name = n.needs) LIMIT 1),
    'a cycle: ' || rowcast.cycle_in(tasks));
  IF problem IS NOT NULL THEN
    PERFORM rowcast.refuse('plan_invalid', problem);
  END IF;
  INSERT INTO @extschema@.agent_tasks (execution_id, venture_id, number, name, agent_type, kind, stage_number, input, priority,
      optional, concurrency_key, max_attempts, run_at, due_seconds, item_ref, propagation_id)
  SELECT execution, venture, own.total_tasks + t.number, t.value ->> 'name', y.agent_type, coalesce(t.value ->> 'kind', 'agent'),
         (t.value ->> 'stage')::int, coalesce(t.value -> 'input', '{}'), coalesce((t.value ->> 'priority')::smallint, own.priority),
         coalesce((t.value ->> 'optional')::boolean, false), t.value ->> 'concurrency_key',
         coalesce((t.value ->> 'max_attempts')::int, y.max_attempts), coalesce((t.value ->> 'run_at')::timestamptz, '-infinity'),
         (t.value ->> 'due_seconds')::int, t.value ->> 'item_ref', (t.value ->> 'propagation_id')::uuid
    FROM jsonb_array_elements(tasks) WITH ORDINALITY t(value, number)
    JOIN @extschema@.agent_types y ON y.agent_type = coalesce(t.value ->> 'agent_type', t.value ->> 'kind');
  GET DIAGNOSTICS added = ROW_COUNT;
  IF added <> jsonb_array_length(tasks) THEN
    PERFORM rowcast.refuse('plan_invalid', 'a task has no agent_type');
  END IF;
  INSERT INTO @extschema@.agent_task_dependencies (task_id, depends_on, needs)
  SELECT DISTINCT ON (t.task_id, b.task_id) t.task_id, b.task_id, n.mode
    FROM rowcast.needs_of(tasks) n
    JOIN @extschema@.agent_tasks t ON t.execution_id = execution AND t.name = n.name
    JOIN @extschema@.agent_tasks b ON b.execution_id = execution AND b.name = n.needs
   ORDER BY t.task_id, b.task_id, n.mode;
  UPDATE @extschema@.strategy_executions s SET total_tasks = s.total_tasks + added WHERE s.execution_id = execution;
  UPDATE @extschema@.agent_tasks t SET waits_for = w.open
    FROM (SELECT d.task_id, count(*) AS open FROM @extschema@.agent_tasks t JOIN @extschema@.agent_task_dependencies d USING (task_id)
            JOIN @extschema@.agent_tasks b ON b.task_id = d.depends_on
           WHERE t.execution_id = execution AND t.number > own.total_tasks AND rowcast.is_met(d.needs, b.status, b.passed) IS NOT TRUE GROUP BY 1) w
   WHERE t.task_id = w.task_id;
  RETURN added;
END $$;

-- Makes what tasks refer to: rows of types that have none, and turns. In the order of their names, so that two plans do
-- not wait for each other; and before the execution is there, whose audit other executions of the venture wait for.
CREATE FUNCTION rowcast.know_types(venture uuid, tasks jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  types text[] := ARRAY(SELECT DISTINCT coalesce(t ->> 'agent_type', t ->> 'kind')
    FROM jsonb_array_elements(CASE jsonb_typeof(tasks) WHEN 'array' THEN tasks ELSE '[]' END) t ORDER BY 1);
BEGIN
  types := array_remove(types, NULL);
  INSERT INTO @extschema@.agent_types (agent_type) SELECT t FROM unnest(types) t
    WHERE NOT EXISTS (SELECT FROM @extschema@.agent_types y WHERE y.agent_type = t) ORDER BY 1 ON CONFLICT DO NOTHING;
  INSERT INTO @extschema@.agent_turns (agent_type, venture_id) SELECT t, venture FROM unnest(types) t
    WHERE NOT EXISTS (SELECT FROM @extschema@.agent_turns a WHERE a.agent_type = t AND a.venture_id = venture) ORDER BY 1
    ON CONFLICT DO NOTHING;
END $$;

-- Creates an execution with its tasks, which waits to be started.
CREATE FUNCTION rowcast.plan_execution(venture uuid, request jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  id constant uuid := gen_random_uuid();
BEGIN
  IF NOT rowcast.venture_exists(venture) THEN
    PERFORM rowcast.refuse('unknown_venture', format('there is no venture %s', venture));
  END IF;
  PERFORM rowcast.check_editor(venture);
  PERFORM rowcast.know_types(venture, request -> 'tasks');
  INSERT INTO @extschema@.agent_executions (execution_id, venture_id, metadata) VALUES (id, venture, request -> 'metadata');
  INSERT INTO @extschema@.strategy_executions (execution_id, strategy_id, source, stages, on_failure, max_parallel, priority, deadline_at,
      concurrency_key, budget, cost_limit, forked_from, schedule_id)
    VALUES (id, request ->> 'strategy_id', request -> 'source', request -> 'stages', coalesce(request ->> 'on_failure', 'continue'),
      (request ->> 'max_parallel')::int, coalesce((request ->> 'priority')::smallint, 0), (request ->> 'deadline_at')::timestamptz,
      request ->> 'concurrency_key', (request ->> 'budget')::numeric, (request ->> 'cost_limit')::numeric,
      (request ->> 'forked_from')::uuid, (request ->> 'schedule_id')::uuid);
  PERFORM rowcast.insert_tasks(id, venture, request -> 'tasks');
  INSERT INTO @extschema@.task_propagation_logs (propagation_id, execution_id, item_ref, item, rules, task_ids)
  SELECT (p ->> 'propagation_id')::uuid, id, p ->> 'item_ref', p -> 'item', p -> 'rules',
         ARRAY(SELECT t.task_id FROM @extschema@.agent_tasks t WHERE t.execution_id = id AND t.propagation_id = (p ->> 'propagation_id')::uuid ORDER BY t.number)
    FROM jsonb_array_elements(coalesce(request -> 'propagations', '[]')) p;
  PERFORM rowcast.add_execution_log(id, 'execution-planned', 'info', NULL, 'the plan', jsonb_build_object('stages', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('name',
               coalesce(CASE WHEN g.stage > 0 THEN request -> 'stages' ->> (g.stage - 1) END, format('stage %s', g.stage)), 'steps', g.steps)
             ORDER BY g.stage), '[]')
      FROM (SELECT coalesce(t.stage_number, 1) AS stage, count(*) AS steps FROM @extschema@.agent_tasks t WHERE t.execution_id = id GROUP BY 1) g)));
  RETURN id;
END $$;
