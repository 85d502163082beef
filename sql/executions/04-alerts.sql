-- Alerts. A row is one episode: from when an execution breaks a rule until it no longer does, with what the receiver of the
-- webhook has been told of it. Every gateway judges and tells: the keys make each episode one row, and a claim gives each
-- message to one gateway.

CREATE TABLE @extschema@.execution_alerts (
  execution_id uuid NOT NULL REFERENCES @extschema@.agent_executions ON DELETE CASCADE,
  rule         text NOT NULL CHECK (rule IN ('failed', 'health', 'errors', 'quiet')),
  episode      int NOT NULL,
  -- What was measured when it began, and the threshold; null for `failed`.
  value        float8,
  threshold    float8,
  began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at     timestamptz,
  -- The last message that was delivered; the attempts to deliver the next one, and when another may begin.
  told         text NOT NULL DEFAULT 'nothing' CHECK (told IN ('nothing', 'firing', 'resolved')),
  attempts     int NOT NULL DEFAULT 0,
  due_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (execution_id, rule, episode)
);
CREATE UNIQUE INDEX ON @extschema@.execution_alerts (execution_id, rule) WHERE ended_at IS NULL;
-- What is to be delivered. After eight attempts, an hour after the first, a message is given up, and with it the one after it.
CREATE INDEX ON @extschema@.execution_alerts (due_at)
  WHERE attempts < 8 AND (told = 'nothing' OR told = 'firing' AND ended_at IS NOT NULL);

ALTER TABLE @extschema@.execution_alerts ENABLE ROW LEVEL SECURITY;
-- Those that see the execution: its own policy holds within this one.
CREATE POLICY members ON @extschema@.execution_alerts FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = execution_alerts.execution_id));
CREATE POLICY service ON @extschema@.execution_alerts FOR SELECT TO service_role USING (true);
REVOKE ALL ON @extschema@.execution_alerts FROM anon, authenticated, service_role;
GRANT SELECT ON @extschema@.execution_alerts TO authenticated, service_role;

-- Begins and ends episodes: `broken` has every rule that the executions `judged` break, [{execution_id, rule, value, threshold}].
-- An execution that is no longer running breaks none of them; that it has failed is seen here, for an hour.
CREATE FUNCTION rowcast.judge_alerts(judged uuid[], broken jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO @extschema@.execution_alerts (execution_id, rule, episode, value, threshold)
    SELECT b.execution_id, b.rule, 1 + coalesce((SELECT max(a.episode) FROM @extschema@.execution_alerts a
             WHERE a.execution_id = b.execution_id AND a.rule = b.rule), 0), b.value, b.threshold
      FROM (
        SELECT r.* FROM jsonb_to_recordset(broken) r(execution_id uuid, rule text, value float8, threshold float8)
          JOIN @extschema@.agent_executions e ON e.execution_id = r.execution_id AND e.status = 'running'
        UNION ALL
        SELECT e.execution_id, 'failed', NULL, NULL FROM @extschema@.agent_executions e
         WHERE e.status = 'failed' AND e.updated_at > clock_timestamp() - interval '1 hour') b
     WHERE NOT EXISTS (SELECT FROM @extschema@.execution_alerts a
             WHERE a.execution_id = b.execution_id AND a.rule = b.rule AND a.ended_at IS NULL)
     ORDER BY 1, 2 -- in one order, so that two gateways do not wait for each other
    ON CONFLICT DO NOTHING;
  UPDATE @extschema@.execution_alerts a SET ended_at = clock_timestamp()
   WHERE a.ended_at IS NULL AND a.rule <> 'failed'
     AND (NOT EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = a.execution_id AND e.status = 'running')
       OR a.execution_id = ANY (judged) AND NOT EXISTS (
            SELECT FROM jsonb_to_recordset(broken) r(execution_id uuid, rule text)
             WHERE r.execution_id = a.execution_id AND r.rule = a.rule));
$$;

-- Gives at most `most` messages to the gateway that asks. No gateway gets them again before the next attempt is due: after 30
-- seconds, which is longer than an attempt takes, and then each time after twice as long.
CREATE FUNCTION rowcast.claim_alerts(most int) RETURNS SETOF jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH due AS MATERIALIZED (
    SELECT a.execution_id, a.rule, a.episode FROM @extschema@.execution_alerts a
     WHERE a.attempts < 8 AND (a.told = 'nothing' OR a.told = 'firing' AND a.ended_at IS NOT NULL)
       AND a.due_at <= clock_timestamp()
     ORDER BY a.due_at LIMIT most FOR UPDATE SKIP LOCKED)
  UPDATE @extschema@.execution_alerts a
     SET attempts = a.attempts + 1, due_at = clock_timestamp() + interval '30 seconds' * 2 ^ a.attempts
    FROM due d JOIN @extschema@.agent_executions e ON e.execution_id = d.execution_id
   WHERE (a.execution_id, a.rule, a.episode) = (d.execution_id, d.rule, d.episode)
  RETURNING jsonb_build_object(
    'phase', CASE a.told WHEN 'nothing' THEN 'firing' ELSE 'resolved' END, 'attempts', a.attempts, 'rule', a.rule,
    'execution_id', a.execution_id, 'venture_id', e.venture_id, 'episode', a.episode, 'value', a.value,
    'threshold', a.threshold, 'began_at', a.began_at, 'ended_at', CASE a.told WHEN 'firing' THEN a.ended_at END);
$$;

-- Notes that a message was delivered: the next one is due.
CREATE FUNCTION rowcast.alert_told(execution uuid, rule text, episode int, phase text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE @extschema@.execution_alerts a SET told = alert_told.phase, attempts = 0, due_at = clock_timestamp()
   WHERE (a.execution_id, a.rule, a.episode) = (alert_told.execution, alert_told.rule, alert_told.episode)
     AND a.told = CASE alert_told.phase WHEN 'firing' THEN 'nothing' ELSE 'firing' END;
$$;
-- They write with the rights of their owner.
REVOKE EXECUTE ON FUNCTION rowcast.judge_alerts, rowcast.claim_alerts, rowcast.alert_told
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.judge_alerts, rowcast.claim_alerts, rowcast.alert_told TO service_role;
