-- The tables of agent executions, in the schema @extschema@: ventures, their members, and the executions that run in them.
-- Types and functions are in the schema rowcast, where they meet no names of the application.
--
-- A change of status or stage and a new metric write a row into the log of the execution, so that one ordered channel
-- (stream `execution`) tells the whole story; every creation and change of status is also written to the audit
-- (stream `venture`), so that a dashboard can follow all executions of a venture.

-- Before anything is made: a table `ventures` that is there already is used as it is, if it has one uuid for a primary
-- key. Anything else that is in the way is named, all of it at once.
DO $$
DECLARE
  ventures pg_class := (SELECT c FROM pg_class c WHERE c.oid = to_regclass('@extschema@.ventures'));
  problems text[];
BEGIN
  problems := ARRAY(
    SELECT format('@extschema@.%I', wanted) FROM unnest(ARRAY['venture_members', 'agent_executions', 'agent_execution_logs',
        'execution_metrics', 'execution_audit', 'execution_health_snapshots', 'execution_alerts']) wanted
     WHERE EXISTS (SELECT FROM pg_class c WHERE c.relname = wanted AND c.relnamespace = '@extschema@'::regnamespace)
        OR EXISTS (SELECT FROM pg_type t WHERE t.typname = wanted AND t.typnamespace = '@extschema@'::regnamespace)
    UNION ALL
    SELECT format('the stream %s', s.name) FROM rowcast.streams s WHERE s.name IN ('execution', 'venture'));
  IF ventures.oid IS NULL THEN
    problems := problems || ARRAY(SELECT '@extschema@.ventures (a type)'::text FROM pg_type t
      WHERE t.typname = 'ventures' AND t.typnamespace = '@extschema@'::regnamespace);
  ELSIF ventures.relkind NOT IN ('r', 'p') OR NOT EXISTS (
    SELECT FROM pg_constraint p JOIN pg_attribute a ON a.attrelid = p.conrelid AND p.conkey = ARRAY[a.attnum]
     WHERE p.conrelid = ventures.oid AND p.contype = 'p' AND a.atttypid = 'uuid'::regtype)
  THEN
    problems := problems || '@extschema@.ventures (it is not a table whose primary key is one column of type uuid)'::text;
  ELSIF NOT pg_has_role(ventures.relowner, 'USAGE') THEN
    problems := problems || format('@extschema@.ventures (it belongs to %s, and %s is no member of that role)',
      ventures.relowner::regrole, quote_ident(current_user));
  END IF;
  IF problems <> '{}' THEN
    RAISE EXCEPTION 'executions cannot be installed in the schema @extschema@, where these are in the way: %',
      array_to_string(problems, ', ') USING ERRCODE = 'duplicate_object',
      HINT = 'Nothing was changed. Choose another schema, such as `npx rowcast migrate --with executions --schema agents`, '
        'or rename what is in the way.';
  END IF;
  IF ventures.oid IS NOT NULL THEN
    UPDATE rowcast.extensions SET adopted = ARRAY['ventures'] WHERE name = 'executions';
  END IF;
END $$;

CREATE TYPE rowcast.execution_status AS ENUM ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled');
CREATE TYPE rowcast.log_level AS ENUM ('info', 'warning', 'error');

CREATE TABLE IF NOT EXISTS @extschema@.ventures (
  venture_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name       text NOT NULL
);

-- `user_id` is the subject of the user's token. A viewer reads; an editor also starts executions and writes to them.
CREATE TABLE @extschema@.venture_members (
  venture_id uuid NOT NULL REFERENCES @extschema@.ventures ON DELETE CASCADE,
  user_id    text NOT NULL CHECK (user_id <> ''),
  role       text NOT NULL DEFAULT 'viewer' CHECK (role IN ('viewer', 'editor')),
  PRIMARY KEY (venture_id, user_id)
);
CREATE INDEX ON @extschema@.venture_members (user_id);

-- A value beyond what a statement, the driver or a response can carry could be written and never be read. The text is measured,
-- because the number 1e131071 takes 16 bytes in a stored jsonb, and 128 KiB as text.
CREATE TABLE @extschema@.agent_executions (
  execution_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  venture_id   uuid NOT NULL REFERENCES @extschema@.ventures,
  status       rowcast.execution_status NOT NULL DEFAULT 'pending',
  stage_number int,
  metadata     jsonb CONSTRAINT metadata_within_16_mib CHECK (octet_length(metadata::text) <= 16 * 1024 * 1024),
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now()
);
-- Pages of the HTTP API begin where the last one ended: after a time and an id.
CREATE INDEX ON @extschema@.agent_executions (venture_id, created_at, execution_id);

-- event_type is an open list: log, execution-started, execution-paused, execution-resumed, execution-completed,
-- execution-failed, execution-cancelled, stage-changed, task-assigned, task-progress, task-completed, task-failed,
-- health-update, metrics-update, error. Writers may add their own.
-- `request_id`: the request that a row came with; services that write with SQL may set rowcast.request_id as well.
CREATE TABLE @extschema@.agent_execution_logs (
  log_id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  execution_id uuid NOT NULL REFERENCES @extschema@.agent_executions ON DELETE CASCADE,
  event_type   text NOT NULL DEFAULT 'log',
  log_level    rowcast.log_level NOT NULL DEFAULT 'info',
  stage_number int,
  message      text,
  context      jsonb CONSTRAINT context_within_64_mib CHECK (octet_length(context::text) <= 64 * 1024 * 1024),
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  request_id   text DEFAULT nullif(current_setting('rowcast.request_id', true), '')
);
CREATE INDEX ON @extschema@.agent_execution_logs (execution_id, created_at, log_id);
SELECT rowcast.attach('@extschema@.agent_execution_logs', 'execution_id', 'execution');

CREATE TABLE @extschema@.execution_metrics (
  metric_id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  execution_id uuid NOT NULL REFERENCES @extschema@.agent_executions ON DELETE CASCADE,
  metric_name  text NOT NULL,
  metric_value numeric NOT NULL,
  recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON @extschema@.execution_metrics (execution_id, metric_name, recorded_at);
CREATE INDEX ON @extschema@.execution_metrics (execution_id, recorded_at, metric_id);

-- No reference to the execution: the audit outlives it.
CREATE TABLE @extschema@.execution_audit (
  audit_id     uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  venture_id   uuid NOT NULL REFERENCES @extschema@.ventures,
  execution_id uuid NOT NULL,
  event_type   text NOT NULL CHECK (event_type IN ('created', 'status-changed')),
  actor        text NOT NULL,
  from_status  rowcast.execution_status,
  to_status    rowcast.execution_status NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  request_id   text DEFAULT nullif(current_setting('rowcast.request_id', true), '')
);
SELECT rowcast.attach('@extschema@.execution_audit', 'venture_id', 'venture');

CREATE FUNCTION rowcast.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_RELID::regclass USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON @extschema@.execution_audit
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.refuse_change();

CREATE FUNCTION rowcast.touch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.updated_at := clock_timestamp();
  RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON @extschema@.agent_executions FOR EACH ROW EXECUTE FUNCTION rowcast.touch();

-- Writes to the log for the triggers below. Triggers of the application run with the search_path of the owner.
CREATE FUNCTION rowcast.add_execution_log(
  execution uuid, type text, level rowcast.log_level, stage int, message text, context jsonb
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('search_path', rowcast.owner_search_path('@extschema@.agent_execution_logs'), true);
  INSERT INTO @extschema@.agent_execution_logs (execution_id, event_type, log_level, stage_number, message, context)
    VALUES (execution, type, level, stage, add_execution_log.message, add_execution_log.context);
END $$;

CREATE FUNCTION rowcast.audit_execution(
  venture uuid, execution uuid, type text, actor text, from_status rowcast.execution_status, to_status rowcast.execution_status
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('search_path', rowcast.owner_search_path('@extschema@.execution_audit'), true);
  INSERT INTO @extschema@.execution_audit (venture_id, execution_id, event_type, actor, from_status, to_status)
    VALUES (venture, execution, type, audit_execution.actor, audit_execution.from_status, audit_execution.to_status);
END $$;

CREATE FUNCTION rowcast.execution_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  was       rowcast.execution_status := CASE TG_OP WHEN 'UPDATE' THEN OLD.status END;
  stage_was int := CASE TG_OP WHEN 'UPDATE' THEN OLD.stage_number END;
BEGIN
  -- The stage first: nothing follows the last status of an execution.
  IF NEW.stage_number IS DISTINCT FROM stage_was THEN
    PERFORM rowcast.add_execution_log(NEW.execution_id, 'stage-changed', 'info', NEW.stage_number,
      format('stage %s', coalesce(NEW.stage_number::text, 'cleared')),
      jsonb_build_object('from', stage_was, 'to', NEW.stage_number));
  END IF;
  IF NEW.status IS DISTINCT FROM was THEN
    PERFORM rowcast.audit_execution(NEW.venture_id, NEW.execution_id,
      CASE TG_OP WHEN 'INSERT' THEN 'created' ELSE 'status-changed' END, rowcast.actor(), was, NEW.status);
    IF TG_OP = 'UPDATE' OR NEW.status <> 'pending' THEN
      PERFORM rowcast.add_execution_log(NEW.execution_id,
        CASE NEW.status
          WHEN 'pending' THEN 'log'
          WHEN 'running' THEN CASE was WHEN 'paused' THEN 'execution-resumed' ELSE 'execution-started' END
          ELSE 'execution-' || NEW.status
        END,
        CASE NEW.status WHEN 'failed' THEN 'error' WHEN 'cancelled' THEN 'warning' ELSE 'info' END::rowcast.log_level,
        NEW.stage_number, format('execution is %s', NEW.status), jsonb_build_object('from', was, 'to', NEW.status));
    END IF;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER execution_changed AFTER INSERT OR UPDATE OF status, stage_number ON @extschema@.agent_executions
  FOR EACH ROW EXECUTE FUNCTION rowcast.execution_changed();

CREATE FUNCTION rowcast.metric_recorded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM rowcast.add_execution_log(e.execution_id, 'metrics-update', 'info', e.stage_number,
      format('%s = %s', NEW.metric_name, NEW.metric_value),
      jsonb_build_object('metric_id', NEW.metric_id, 'metric_name', NEW.metric_name, 'metric_value', NEW.metric_value))
    FROM @extschema@.agent_executions e WHERE e.execution_id = NEW.execution_id;
  RETURN NULL;
END $$;
CREATE TRIGGER metric_recorded AFTER INSERT ON @extschema@.execution_metrics
  FOR EACH ROW EXECUTE FUNCTION rowcast.metric_recorded();
