-- Who may see and write the executions of a venture: its members. And what the HTTP API needs to write safely.

-- `user_id` is the subject of the user's token. A viewer reads; an editor also starts executions and writes to them.
CREATE TABLE public.venture_members (
  venture_id uuid NOT NULL REFERENCES public.ventures ON DELETE CASCADE,
  user_id    text NOT NULL CHECK (user_id <> ''),
  role       text NOT NULL DEFAULT 'viewer' CHECK (role IN ('viewer', 'editor')),
  PRIMARY KEY (venture_id, user_id)
);
CREATE INDEX ON public.venture_members (user_id);
SELECT rowcast.watch_access('public.venture_members', 'user_id');

-- An execution that moves to another venture is seen by others from then on.
CREATE TRIGGER rowcast_access AFTER UPDATE OF venture_id ON public.agent_executions
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.access_changed();

-- The request that a row came with; services that write with SQL may set rowcast.request_id as well.
ALTER TABLE public.agent_execution_logs
  ADD COLUMN request_id text DEFAULT nullif(current_setting('rowcast.request_id', true), '');
ALTER TABLE public.execution_audit
  ADD COLUMN request_id text DEFAULT nullif(current_setting('rowcast.request_id', true), '');

ALTER TABLE public.ventures ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.venture_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.agent_executions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.agent_execution_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.execution_metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.execution_audit ENABLE ROW LEVEL SECURITY;

-- In a subselect of its own the subject is read once for a statement, and not for each row.
CREATE POLICY own ON public.venture_members FOR SELECT TO authenticated
  USING (user_id = (SELECT rowcast.subject()));
CREATE POLICY members ON public.ventures FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM public.venture_members m
    WHERE m.venture_id = ventures.venture_id AND m.user_id = (SELECT rowcast.subject())));
CREATE POLICY members ON public.agent_executions FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM public.venture_members m
    WHERE m.venture_id = agent_executions.venture_id AND m.user_id = (SELECT rowcast.subject())));
CREATE POLICY members ON public.execution_audit FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM public.venture_members m
    WHERE m.venture_id = execution_audit.venture_id AND m.user_id = (SELECT rowcast.subject())));
-- Whoever sees the execution: its own policy holds within this one.
CREATE POLICY members ON public.agent_execution_logs FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM public.agent_executions e WHERE e.execution_id = agent_execution_logs.execution_id));
CREATE POLICY members ON public.execution_metrics FOR SELECT TO authenticated
  USING (EXISTS (SELECT FROM public.agent_executions e WHERE e.execution_id = execution_metrics.execution_id));

CREATE POLICY editors_add ON public.agent_executions FOR INSERT TO authenticated
  WITH CHECK (EXISTS (SELECT FROM public.venture_members m WHERE m.venture_id = agent_executions.venture_id
    AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
CREATE POLICY editors_change ON public.agent_executions FOR UPDATE TO authenticated
  USING (EXISTS (SELECT FROM public.venture_members m WHERE m.venture_id = agent_executions.venture_id
    AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
CREATE POLICY editors_add ON public.agent_execution_logs FOR INSERT TO authenticated
  WITH CHECK (EXISTS (SELECT FROM public.agent_executions e JOIN public.venture_members m USING (venture_id)
    WHERE e.execution_id = agent_execution_logs.execution_id
      AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));
CREATE POLICY editors_add ON public.execution_metrics FOR INSERT TO authenticated
  WITH CHECK (EXISTS (SELECT FROM public.agent_executions e JOIN public.venture_members m USING (venture_id)
    WHERE e.execution_id = execution_metrics.execution_id
      AND m.user_id = (SELECT rowcast.subject()) AND m.role = 'editor'));

CREATE POLICY service ON public.ventures TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON public.venture_members TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON public.agent_executions TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON public.agent_execution_logs TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON public.execution_metrics TO service_role USING (true) WITH CHECK (true);
CREATE POLICY service ON public.execution_audit FOR SELECT TO service_role USING (true);

-- Default privileges may have given more than is meant here, such as TRUNCATE, which no policy stops.
REVOKE ALL ON public.ventures, public.venture_members, public.agent_executions, public.agent_execution_logs,
  public.execution_metrics, public.execution_audit FROM anon, authenticated, service_role;
GRANT SELECT ON public.ventures, public.venture_members, public.agent_executions, public.agent_execution_logs,
  public.execution_metrics, public.execution_audit TO authenticated, service_role;
GRANT INSERT ON public.agent_executions, public.agent_execution_logs, public.execution_metrics
  TO authenticated, service_role;
GRANT UPDATE (status, stage_number, metadata) ON public.agent_executions TO authenticated;
GRANT INSERT ON public.ventures, public.venture_members TO service_role;
GRANT UPDATE, DELETE ON public.ventures, public.venture_members, public.agent_executions, public.agent_execution_logs,
  public.execution_metrics TO service_role;

-- Whether there is such a thing at all, for an answer that tells 404 from 403.
CREATE FUNCTION rowcast.venture_exists(id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM public.ventures v WHERE v.venture_id = $1) $$;
CREATE FUNCTION rowcast.execution_exists(id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM public.agent_executions e WHERE e.execution_id = $1) $$;
REVOKE EXECUTE ON FUNCTION rowcast.venture_exists, rowcast.execution_exists FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.venture_exists, rowcast.execution_exists TO authenticated, service_role;

-- These write with the rights of their owner, and a trigger on any table could call them: see rowcast.make_access.
REVOKE EXECUTE ON FUNCTION rowcast.execution_changed, rowcast.metric_recorded, rowcast.streams_changed FROM PUBLIC, anon, authenticated, service_role;

-- What an answer says of a position: the numbering, and where an emptied channel stands.
GRANT SELECT (stream_id, name, epoch) ON rowcast.streams TO authenticated, service_role;
CREATE FUNCTION rowcast.execution_floor(id uuid) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.floor FROM rowcast.channels c JOIN rowcast.streams s USING (stream_id)
   WHERE s.name = 'execution' AND c.key = $1::text
$$;
REVOKE EXECUTE ON FUNCTION rowcast.execution_floor FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.execution_floor TO authenticated, service_role;

-- Pages of the HTTP API begin where the last one ended: after a time and an id.
CREATE INDEX ON public.agent_execution_logs (execution_id, created_at, log_id);
CREATE INDEX ON public.execution_metrics (execution_id, recorded_at, metric_id);
CREATE INDEX ON public.agent_executions (venture_id, created_at, execution_id);
DROP INDEX public.agent_executions_venture_id_created_at_idx;

-- A request that is repeated gets its first answer. The row is written in the transaction of what the request writes: of
-- equal requests at the same time the second waits for the first.
CREATE TABLE rowcast.idempotency_keys (
  subject     text NOT NULL DEFAULT rowcast.actor(),
  key         text NOT NULL,
  -- Of the request: the same key with another request is a mistake.
  fingerprint bytea NOT NULL,
  -- As it was given, letter for letter; written at the end of the transaction.
  answer      json,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (subject, key)
);
CREATE INDEX ON rowcast.idempotency_keys (created_at);
ALTER TABLE rowcast.idempotency_keys ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON rowcast.idempotency_keys FROM anon, authenticated, service_role;
CREATE POLICY own ON rowcast.idempotency_keys TO authenticated, service_role
  USING (subject = rowcast.actor()) WITH CHECK (subject = rowcast.actor());
GRANT SELECT, INSERT (subject, key, fingerprint), UPDATE (answer) ON rowcast.idempotency_keys TO authenticated, service_role;

-- Forgets what nobody may ask for any more, so many rows at most; returns how many. Gateways call it from time to time.
CREATE FUNCTION rowcast.sweep(batch int DEFAULT 10000) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH keys AS (
    DELETE FROM rowcast.idempotency_keys WHERE (subject, key) IN (SELECT k.subject, k.key FROM rowcast.idempotency_keys k
      WHERE k.created_at < now() - interval '24 hours' ORDER BY k.created_at LIMIT batch FOR UPDATE SKIP LOCKED) RETURNING 1),
  tickets AS (
    DELETE FROM rowcast.tickets WHERE hash IN (SELECT t.hash FROM rowcast.tickets t
      WHERE t.expires_at < now() ORDER BY t.expires_at LIMIT batch FOR UPDATE SKIP LOCKED) RETURNING 1)
  SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM tickets)
$$;
REVOKE EXECUTE ON FUNCTION rowcast.sweep FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.sweep TO rowcast_gateway;
