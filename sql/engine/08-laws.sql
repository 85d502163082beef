-- The laws of the engine, checked over its tables and its log: each row of the answer is one that is broken. For tests, the
-- doctor and the fault campaign. Executions whose log was pruned are left out.

CREATE FUNCTION rowcast.broken_laws(only_execution uuid DEFAULT NULL) RETURNS TABLE (law text, execution_id uuid, detail text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH own AS MATERIALIZED (
    SELECT s.*, e.status FROM @extschema@.strategy_executions s JOIN @extschema@.agent_executions e USING (execution_id)
     WHERE (only_execution IS NULL OR s.execution_id = only_execution) AND coalesce(rowcast.execution_floor(s.execution_id), 1) = 1),
  log AS MATERIALIZED (
    SELECT l.execution_id, l.seq, l.event_type, (l.context ->> 'step_id')::uuid AS task_id, (l.context ->> 'attempt')::int AS attempt,
           CASE l.event_type WHEN 'task-ready' THEN 'ready' WHEN 'task-retrying' THEN 'ready' WHEN 'task-released' THEN 'ready'
             WHEN 'task-assigned' THEN 'running' WHEN 'task-progress' THEN NULL ELSE replace(l.event_type, 'task-', '') END::text AS says
      FROM own o JOIN @extschema@.agent_execution_logs l USING (execution_id)
     WHERE l.event_type LIKE 'task-%' AND l.context ? 'step_id'),
  steps AS MATERIALIZED (
    SELECT g.*, lag(g.says) OVER w AS before, lag(g.attempt) OVER w AS attempt_before, lead(g.seq) OVER w IS NULL AS is_last
      FROM log g WHERE g.says IS NOT NULL WINDOW w AS (PARTITION BY g.execution_id, g.task_id ORDER BY g.seq)),
  moves AS MATERIALIZED (
    SELECT l.execution_id, l.seq, l.event_type, lead(l.seq) OVER (PARTITION BY l.execution_id ORDER BY l.seq) AS until
      FROM own o JOIN @extschema@.agent_execution_logs l USING (execution_id)
     WHERE l.event_type IN ('execution-started', 'execution-paused', 'execution-resumed', 'execution-completed', 'execution-failed', 'execution-cancelled')),
  tasks AS MATERIALIZED (
    SELECT t.* FROM own o JOIN @extschema@.agent_tasks t USING (execution_id)),
  needs AS MATERIALIZED (
    SELECT t.execution_id, t.task_id, t.status, d.depends_on, d.needs, b.status AS other, b.passed
      FROM tasks t JOIN @extschema@.agent_task_dependencies d USING (task_id) JOIN tasks b ON b.task_id = d.depends_on)

  SELECT 'E1', t.execution_id, format('task %s is %s in attempt %s, and its last event says %s in %s', t.name, t.status, t.attempt, s.says, s.attempt)
    FROM tasks t LEFT JOIN steps s ON s.execution_id = t.execution_id AND s.task_id = t.task_id AND s.is_last
   WHERE t.status::text <> coalesce(s.says, 'blocked') OR t.attempt <> coalesce(s.attempt, t.attempt)
  UNION ALL
  SELECT 'E2', n.execution_id, format('task %s began at %s before what it needs', n.task_id, s.seq)
    FROM needs n JOIN steps s ON s.task_id = n.task_id AND s.says = 'running'
   WHERE NOT EXISTS (SELECT FROM steps b WHERE b.task_id = n.depends_on AND b.seq < s.seq
     AND (b.says = 'completed' OR b.says IN ('failed', 'skipped', 'cancelled') AND (n.needs = 'ended' OR n.passed)))
  UNION ALL
  SELECT 'E3', m.execution_id, format('something follows the end at %s', m.seq)
    FROM moves m WHERE m.event_type IN ('execution-completed', 'execution-failed', 'execution-cancelled')
     AND EXISTS (SELECT FROM @extschema@.agent_execution_logs l WHERE l.execution_id = m.execution_id AND l.seq > m.seq)
  UNION ALL
  SELECT 'E4', s.execution_id, format('task %s was assigned twice in attempt %s', s.task_id, s.attempt)
    FROM (SELECT s.*, count(*) FILTER (WHERE s.says = 'running') OVER w AS times,
                 count(*) FILTER (WHERE s.says IN ('ready', 'waiting') AND s.before IN ('running') AND s.attempt = s.attempt_before) OVER w AS back
            FROM steps s WINDOW w AS (PARTITION BY s.task_id, s.attempt ORDER BY s.seq)) s
   WHERE s.says = 'running' AND s.times > s.back + 1
  UNION ALL
  SELECT 'E5', s.execution_id, format('task %s was completed %s times', s.task_id, count(*))
    FROM steps s WHERE s.says = 'completed' GROUP BY s.execution_id, s.task_id HAVING count(*) > 1
  UNION ALL
  SELECT 'E6', s.execution_id, format('task %s began at %s, in a pause', s.task_id, s.seq)
    FROM steps s JOIN moves m ON m.execution_id = s.execution_id AND m.event_type = 'execution-paused' AND s.seq > m.seq AND (m.until IS NULL OR s.seq < m.until)
   WHERE s.says = 'running'
  UNION ALL
  SELECT 'E7', t.execution_id, format('the execution is %s, and task %s is %s', o.status, t.name, t.status)
    FROM own o JOIN tasks t USING (execution_id)
   WHERE o.status IN ('completed', 'failed', 'cancelled') AND NOT rowcast.task_is_over(t.status) OR o.status = 'completed' AND t.status = 'cancelled'
  UNION ALL
  SELECT 'E8', t.execution_id, format('task %s is skipped behind nothing', t.name)
    FROM tasks t WHERE t.status = 'skipped' AND NOT t.passed
     AND NOT EXISTS (SELECT FROM needs n WHERE n.task_id = t.task_id AND NOT rowcast.is_met(n.needs, n.other, n.passed))
  UNION ALL
  SELECT 'E9', t.execution_id, format('task %s is in attempt %s of %s', t.name, t.attempt, t.max_attempts)
    FROM tasks t WHERE t.attempt NOT BETWEEN 1 AND t.max_attempts
  UNION ALL
  SELECT 'E10', l.execution_id, format('%s rows up to %s', count(*), max(l.seq))
    FROM own o JOIN @extschema@.agent_execution_logs l USING (execution_id) GROUP BY l.execution_id HAVING count(*) <> max(l.seq)
$$;
