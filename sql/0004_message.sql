-- The built-in stream `message`, for those who have something to say and no table to say it in.

CREATE TABLE rowcast.messages (
  key        text NOT NULL,
  event_type text NOT NULL,
  data       jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT rowcast.attach('rowcast.messages', 'key', 'message');

-- publish('message:lobby', 'greeting', '{"hello":"world"}') → the seq of the event.
CREATE FUNCTION rowcast.publish(channel text, type text, data jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  published bigint;
BEGIN
  IF channel NOT LIKE 'message:_%' THEN
    RAISE EXCEPTION '% is not a channel of the stream message', quote_literal(channel)
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Write message:<key>, for example message:lobby.';
  END IF;
  INSERT INTO rowcast.messages AS m (key, event_type, data)
    VALUES (substr(channel, length('message:') + 1), publish.type, publish.data)
    RETURNING m.seq INTO published;
  RETURN published;
END $$;
