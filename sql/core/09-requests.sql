-- What requests leave behind: who wrote, tickets, and answers that may be asked for again.

-- Who is writing: the subject of the token of the request, else the role it runs as, else the login. The claims of a login that
-- is no gateway are its own word, so it is named with them.
CREATE FUNCTION rowcast.actor() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  subject text;
BEGIN
  subject := nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub';
  IF subject IS NOT NULL AND NOT pg_has_role(session_user, 'rowcast_gateway', 'MEMBER') THEN
    RETURN format('%s (%s)', subject, session_user);
  END IF;
  RETURN coalesce(
    subject,
    nullif(current_setting('role'), 'none'),
    session_user);
EXCEPTION WHEN data_exception THEN -- claims that are no JSON must not fail the write
  RETURN session_user;
END $$;

-- Tickets: what a page shows instead of its token where that would stand in a URL. Each is good for one use, by any
-- gateway. Only the hash is kept. Unlogged: a client asks again for one that a crash has lost.
CREATE UNLOGGED TABLE rowcast.tickets (
  hash             bytea PRIMARY KEY,
  subject          text NOT NULL,
  role             text NOT NULL,
  claims           text NOT NULL,
  token_expires_at timestamptz,
  expires_at       timestamptz NOT NULL
);
CREATE INDEX ON rowcast.tickets (expires_at);

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
CREATE POLICY own ON rowcast.idempotency_keys TO authenticated, service_role
  USING (subject = rowcast.actor()) WITH CHECK (subject = rowcast.actor());

-- Deletes what has expired, so many rows at most; returns how many. Gateways call it from time to time.
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
