-- Streams and their channels: which tables are broadcast, and where each channel's numbering stands.

CREATE SCHEMA IF NOT EXISTS rowcast;

-- The numbering's name: a position is only comparable with positions of the same epoch.
CREATE FUNCTION rowcast.make_epoch() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT substr(md5(gen_random_uuid()::text), 1, 6) $$;

CREATE TABLE rowcast.streams (
  stream_id   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE
              CONSTRAINT stream_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
  relation    regclass NOT NULL UNIQUE,
  key_column  name NOT NULL,
  epoch       text NOT NULL DEFAULT rowcast.make_epoch()
              CONSTRAINT epoch_text CHECK (epoch ~ '^[a-z0-9]{1,16}$'),
  attached_at timestamptz NOT NULL DEFAULT now()
);

-- One row per channel that ever had an event. Writers of a channel queue on it: a row lock, unlike an advisory
-- lock, takes no shared memory, so one transaction may write a million channels. It is locked, never updated, by
-- an insert: a counter that every insert updates would leave one dead tuple per event.
-- `floor` is the lowest seq that can still be read; it keeps an emptied channel from counting from 1 again.
-- `written_by` is set by REPEATABLE READ and SERIALIZABLE writers only (see rowcast.attach).
CREATE TABLE rowcast.channels (
  stream_id  int NOT NULL REFERENCES rowcast.streams ON DELETE CASCADE,
  key        text NOT NULL,
  floor      bigint NOT NULL DEFAULT 1,
  written_by xid8,
  PRIMARY KEY (stream_id, key)
);

-- A gateway compares this number at every read of the tail, and loads the streams again when it changed.
CREATE TABLE rowcast.catalog (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  revision bigint NOT NULL
);
INSERT INTO rowcast.catalog (revision) VALUES (1);

CREATE FUNCTION rowcast.streams_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE rowcast.catalog SET revision = revision + 1;
  PERFORM pg_notify('rowcast', '');
  RETURN NULL;
END $$;

CREATE TRIGGER streams_changed AFTER INSERT OR UPDATE OR DELETE ON rowcast.streams
  FOR EACH STATEMENT EXECUTE FUNCTION rowcast.streams_changed();

-- Declares the numbering of a stream lost (a restored backup, a truncated table): every position handed out
-- before is answered with a reset.
CREATE FUNCTION rowcast.new_epoch(stream text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  fresh text;
BEGIN
  UPDATE rowcast.streams s SET epoch = rowcast.make_epoch() WHERE s.name = stream RETURNING s.epoch INTO fresh;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  RETURN fresh;
END $$;
