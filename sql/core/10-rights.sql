-- What each role may do in the schema.

-- Default privileges may have given more than is meant here, such as TRUNCATE, which no policy stops.
REVOKE ALL ON ALL TABLES IN SCHEMA rowcast FROM anon, authenticated, service_role;

GRANT SELECT ON rowcast.migrations, rowcast.granted, rowcast.streams, rowcast.channels, rowcast.catalog, rowcast.retention
  TO rowcast_gateway;
GRANT SELECT, INSERT, DELETE ON rowcast.tickets TO rowcast_gateway;
GRANT SELECT, INSERT ON rowcast.messages TO service_role;
GRANT SELECT, INSERT (subject, key, fingerprint), UPDATE (answer) ON rowcast.idempotency_keys TO authenticated, service_role;
-- What an answer says of a position.
GRANT SELECT (stream_id, name, epoch) ON rowcast.streams TO anon, authenticated, service_role;

REVOKE EXECUTE ON FUNCTION rowcast.decide, rowcast.sweep
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.decide, rowcast.sweep TO rowcast_gateway;
-- It writes with the rights of its owner, and a trigger on any table could call it: see rowcast.make_access.
REVOKE EXECUTE ON FUNCTION rowcast.streams_changed FROM PUBLIC, anon, authenticated, service_role;
