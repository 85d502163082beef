-- The first users' tables: ventures, and the agent executions that run in them.
-- A change of status or stage and a new metric write a row into the execution's log, so that one ordered channel
-- (stream `execution`) tells the whole story; every creation and change of status is also written to the audit
-- (stream `venture`), so that a dashboard can follow all executions of a venture.

CREATE TYPE execution_status AS ENUM ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled');
CREATE TYPE log_level AS ENUM ('info', 'warning', 'error');

CREATE TABLE ventures (
  venture_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name       text NOT NULL
);

CREATE TABLE agent_executions (
  execution_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  venture_id   uuid NOT NULL REFERENCES ventures,
  status       execution_status NOT NULL DEFAULT 'pending',
  stage_number int,
  metadata     jsonb,
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON agent_executions (venture_id, created_at);

-- event_type is an open list: log, execution-started, execution-paused, execution-resumed, execution-completed,
-- execution-failed, execution-cancelled, stage-changed, task-assigned, task-progress, task-completed, task-failed,
-- health-update, metrics-update, error. Writers may add their own.
CREATE TABLE agent_execution_logs (
  log_id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  execution_id uuid NOT NULL REFERENCES agent_executions ON DELETE CASCADE,
  event_type   text NOT NULL DEFAULT 'log',
  log_level    log_level NOT NULL DEFAULT 'info',
  stage_number int,
  message      text,
  context      jsonb,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT rowcast.attach('agent_execution_logs', 'execution_id', 'execution');

CREATE TABLE execution_metrics (
  metric_id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  execution_id uuid NOT NULL REFERENCES agent_executions ON DELETE CASCADE,
  metric_name  text NOT NULL,
  metric_value numeric NOT NULL,
  recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON execution_metrics (execution_id, metric_name, recorded_at);

-- No reference to the execution: the audit outlives it.
CREATE TABLE execution_audit (
  audit_id     uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  venture_id   uuid NOT NULL REFERENCES ventures,
  execution_id uuid NOT NULL,
  event_type   text NOT NULL CHECK (event_type IN ('created', 'status-changed')),
  actor        text NOT NULL,
  from_status  execution_status,
  to_status    execution_status NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT rowcast.attach('execution_audit', 'venture_id', 'venture');

CREATE FUNCTION rowcast.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_RELID::regclass USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON execution_audit
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.refuse_change();

CREATE FUNCTION rowcast.touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.updated_at := clock_timestamp();
  RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON agent_executions FOR EACH ROW EXECUTE FUNCTION rowcast.touch();

-- Who is writing: the subject of the request's token, else the role it runs as, else the login.
CREATE FUNCTION rowcast.actor() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
    nullif(current_setting('role'), 'none'),
    session_user);
EXCEPTION WHEN data_exception THEN -- claims that are no JSON must not fail the write
  RETURN session_user;
END $$;

CREATE FUNCTION rowcast.execution_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  was public.execution_status := CASE TG_OP WHEN 'UPDATE' THEN OLD.status END;
  stage_was int := CASE TG_OP WHEN 'UPDATE' THEN OLD.stage_number END;
BEGIN
  -- The stage first: nothing follows an execution's last status.
  IF NEW.stage_number IS DISTINCT FROM stage_was THEN
    INSERT INTO public.agent_execution_logs (execution_id, event_type, stage_number, message, context)
      VALUES (NEW.execution_id, 'stage-changed', NEW.stage_number,
              format('stage %s', coalesce(NEW.stage_number::text, 'cleared')),
              jsonb_build_object('from', stage_was, 'to', NEW.stage_number));
  END IF;
  IF NEW.status IS DISTINCT FROM was THEN
    INSERT INTO public.execution_audit (venture_id, execution_id, event_type, actor, from_status, to_status)
      VALUES (NEW.venture_id, NEW.execution_id, CASE TG_OP WHEN 'INSERT' THEN 'created' ELSE 'status-changed' END,
              rowcast.actor(), was, NEW.status);
    IF TG_OP = 'UPDATE' OR NEW.status <> 'pending' THEN
      INSERT INTO public.agent_execution_logs (execution_id, event_type, log_level, stage_number, message, context)
        VALUES (NEW.execution_id,
                CASE NEW.status
                  WHEN 'pending' THEN 'log'
                  WHEN 'running' THEN CASE was WHEN 'paused' THEN 'execution-resumed' ELSE 'execution-started' END
                  ELSE 'execution-' || NEW.status
                END,
                CASE NEW.status
                  WHEN 'failed' THEN 'error'::public.log_level
                  WHEN 'cancelled' THEN 'warning'::public.log_level
                  ELSE 'info'::public.log_level
                END,
                NEW.stage_number, format('execution is %s', NEW.status),
                jsonb_build_object('from', was, 'to', NEW.status));
    END IF;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER execution_changed AFTER INSERT OR UPDATE OF status, stage_number ON agent_executions
  FOR EACH ROW EXECUTE FUNCTION rowcast.execution_changed();

CREATE FUNCTION rowcast.metric_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO public.agent_execution_logs (execution_id, event_type, stage_number, message, context)
    SELECT e.execution_id, 'metrics-update', e.stage_number, format('%s = %s', NEW.metric_name, NEW.metric_value),
           jsonb_build_object('metric_id', NEW.metric_id, 'metric_name', NEW.metric_name, 'metric_value', NEW.metric_value)
      FROM public.agent_executions e WHERE e.execution_id = NEW.execution_id;
  RETURN NULL;
END $$;
CREATE TRIGGER metric_recorded AFTER INSERT ON execution_metrics
  FOR EACH ROW EXECUTE FUNCTION rowcast.metric_recorded();
