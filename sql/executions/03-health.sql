-- How well executions did while they ran. Each gateway computes the health of the running ones; of all gateways one writes a
-- snapshot for a slot of time, and the event `health-update` where the health has changed enough to tell.

CREATE TABLE @extschema@.execution_health_snapshots (
  execution_id  uuid NOT NULL REFERENCES @extschema@.agent_executions ON DELETE CASCADE,
  -- The number of the slot of time since 1970: the key is what lets one gateway write it.
  slot          bigint NOT NULL,
  score         int NOT NULL CHECK (score BETWEEN 0 AND 100),
  word          text NOT NULL CHECK (word IN ('excellent', 'good', 'degraded', 'critical')),
  reasons       jsonb NOT NULL,
  predicted_end timestamptz,
  -- Whether the event was written with it. The next one is measured against this one.
  told          boolean NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (execution_id, slot)
);
CREATE INDEX ON @extschema@.execution_health_snapshots (execution_id, slot DESC) WHERE told;

ALTER TABLE @extschema@.execution_health_snapshots ENABLE ROW LEVEL SECURITY;
-- Those that see the execution: its own policy holds within this one.
CREATE POLICY members ON @extschema@.execution_health_snapshots FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM @extschema@.agent_executions e WHERE e.execution_id = execution_health_snapshots.execution_id));
CREATE POLICY service ON @extschema@.execution_health_snapshots FOR SELECT TO service_role USING (true);
REVOKE ALL ON @extschema@.execution_health_snapshots FROM anon, authenticated, service_role;
GRANT SELECT ON @extschema@.execution_health_snapshots TO authenticated, service_role;

-- Writes the snapshot of a slot unless it is there; and tells the readers of the execution if the word is another than the one
-- that they were told last, or the score differs by 5. Nothing was told before: then excellent, and 100.
-- Returns whether this call wrote it.
CREATE FUNCTION rowcast.record_health(
  execution uuid, slot bigint, score int, word text, reasons jsonb, predicted_end timestamptz
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last_score int;
  last_word  text;
  tells      boolean;
BEGIN
  SELECT h.score, h.word INTO last_score, last_word FROM @extschema@.execution_health_snapshots h
   WHERE h.execution_id = execution AND h.told ORDER BY h.slot DESC LIMIT 1;
  tells := record_health.word <> coalesce(last_word, 'excellent') OR abs(record_health.score - coalesce(last_score, 100)) >= 5;
  INSERT INTO @extschema@.execution_health_snapshots (execution_id, slot, score, word, reasons, predicted_end, told)
    SELECT e.execution_id, record_health.slot, record_health.score, record_health.word, record_health.reasons,
           record_health.predicted_end, tells
      FROM @extschema@.agent_executions e WHERE e.execution_id = execution AND e.status = 'running'
    ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF tells THEN
    PERFORM rowcast.add_execution_log(execution, 'health-update',
      CASE WHEN record_health.word IN ('degraded', 'critical') THEN 'warning' ELSE 'info' END::rowcast.log_level,
      NULL, format('health is %s, %s of 100', record_health.word, record_health.score),
      jsonb_build_object('score', record_health.score, 'word', record_health.word, 'reasons', record_health.reasons,
        'predicted_end', record_health.predicted_end));
  END IF;
  RETURN true;
END $$;
-- It writes with the rights of its owner.
REVOKE EXECUTE ON FUNCTION rowcast.record_health FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.record_health TO service_role;
