-- What `anon` is granted it may also read by the HTTP API: an answer says at which position it was, and tells 404 from 403.
GRANT SELECT (stream_id, name, epoch) ON rowcast.streams TO anon;
GRANT EXECUTE ON FUNCTION rowcast.venture_exists, rowcast.execution_exists, rowcast.execution_floor TO anon;

-- A role that may not look into the table is told 403 of everything, as if it were there: of no id does it hear whether it is.
-- These run as their owner: who asks is the role that the transaction has become.
CREATE OR REPLACE FUNCTION rowcast.venture_exists(id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT has_any_column_privilege(coalesce(nullif(current_setting('role'), 'none'), session_user), 'public.ventures', 'SELECT')
    OR EXISTS (SELECT FROM public.ventures v WHERE v.venture_id = $1)
$$;
CREATE OR REPLACE FUNCTION rowcast.execution_exists(id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT has_any_column_privilege(coalesce(nullif(current_setting('role'), 'none'), session_user), 'public.agent_executions', 'SELECT')
    OR EXISTS (SELECT FROM public.agent_executions e WHERE e.execution_id = $1)
$$;
