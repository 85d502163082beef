-- The built-in stream `message`, for events that have no table of their own.

CREATE TABLE rowcast.messages (
  key        text NOT NULL,
  event_type text NOT NULL,
  data       jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT rowcast.attach('rowcast.messages', 'key', 'message');
-- A publication for all tables takes no DELETE of a table without one.
ALTER TABLE rowcast.messages ADD PRIMARY KEY USING INDEX messages_key_seq_idx;

-- The stream is for services; for others to read it takes a guard, and to write it a policy.
ALTER TABLE rowcast.messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY service ON rowcast.messages TO service_role USING (true) WITH CHECK (true);

-- publish('message:lobby', 'greeting', '{"hello":"world"}') → the seq of the event. It has no search_path of its own:
-- triggers that the application has on the table run as with any other INSERT.
CREATE FUNCTION rowcast.publish(channel text, type text, data jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
  published pg_catalog.int8;
BEGIN
  IF channel NOT LIKE 'message:_%' THEN
    RAISE EXCEPTION '% is not a channel of the stream message', pg_catalog.quote_literal(channel)
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Write message:<key>, for example message:lobby.';
  END IF;
  INSERT INTO rowcast.messages AS m (key, event_type, data)
    VALUES (pg_catalog.substr(channel, pg_catalog.length('message:') + 1), publish.type, publish.data)
    RETURNING m.seq INTO published;
  RETURN published;
END $$;
