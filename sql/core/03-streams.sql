-- Streams and their channels: which tables are broadcast, and where the numbering of each channel stands.

-- The name of a numbering: a position can be compared only with positions of the same epoch.
CREATE FUNCTION rowcast.make_epoch() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT substr(md5(gen_random_uuid()::text), 1, 6) $$;

-- `guard`: a function of the application that decides who may read a channel, as `schema.name`; it is given the key.
-- `seq_column` and `tx_column`: the columns that attach has added, whose names the application may need for its own.
CREATE TABLE rowcast.streams (
  stream_id   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE
              CONSTRAINT stream_name CHECK (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
  relation    regclass NOT NULL UNIQUE,
  key_column  name NOT NULL,
  epoch       text NOT NULL DEFAULT rowcast.make_epoch()
              CONSTRAINT epoch_text CHECK (epoch ~ '^[a-z0-9]{1,16}$'),
  attached_at timestamptz NOT NULL DEFAULT now(),
  guard       text,
  seq_column  name NOT NULL DEFAULT 'seq',
  tx_column   name NOT NULL DEFAULT 'tx'
);

-- One row per channel that ever had an event. Writers of a channel queue on it: a row lock, unlike an advisory
-- lock, takes no shared memory, so one transaction may write a million channels. It is locked, never updated, by
-- an insert: a counter that every insert updates would leave one dead tuple per event.
-- `floor` is the lowest seq that can still be read; it keeps an emptied channel from counting from 1 again.
-- `top`, in a partitioned table only: the last number of the channel when an event of it began to be deleted. No event after it
-- has been deleted since.
-- `written_by` is set by REPEATABLE READ and SERIALIZABLE writers only (see rowcast.make_triggers).
CREATE TABLE rowcast.channels (
  stream_id  int NOT NULL REFERENCES rowcast.streams ON DELETE CASCADE,
  key        text NOT NULL,
  floor      bigint NOT NULL DEFAULT 1,
  written_by xid8,
  top        bigint,
  PRIMARY KEY (stream_id, key)
);

-- The owner of a stream's table may change the catalogue rows of that stream only. The owner of the catalogue is not restricted.
CREATE FUNCTION rowcast.owns(relation regclass) RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = relation AND pg_catalog.pg_has_role(c.relowner, 'USAGE'));

ALTER TABLE rowcast.streams ENABLE ROW LEVEL SECURITY;
CREATE POLICY listed ON rowcast.streams FOR SELECT USING (true);
CREATE POLICY own ON rowcast.streams USING (rowcast.owns(relation)) WITH CHECK (rowcast.owns(relation));
ALTER TABLE rowcast.channels ENABLE ROW LEVEL SECURITY;
CREATE POLICY read ON rowcast.channels FOR SELECT TO rowcast_gateway USING (true);
CREATE POLICY own ON rowcast.channels
  USING (EXISTS (SELECT FROM rowcast.streams s WHERE s.stream_id = channels.stream_id AND rowcast.owns(s.relation)));

-- The streams whose events are the changes of a table that is updated in place: see rowcast.track. Columns are held by their
-- numbers, which a rename does not change. `key`: null if all rows are in one channel. `shape`: the columns and partitions
-- for which the triggers were written.
CREATE TABLE rowcast.tracks (
  stream_id int PRIMARY KEY REFERENCES rowcast.streams ON DELETE CASCADE,
  relation  regclass NOT NULL,
  key       int2,
  identity  int2[] NOT NULL,
  columns   int2[],
  old       text NOT NULL CONSTRAINT old_is_known CHECK (old IN ('changed', 'all', 'none')),
  shape     text NOT NULL
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

-- The table that the key of a stream refers to, and the column there; nothing where it refers to none.
CREATE FUNCTION rowcast.parent_of(stream rowcast.streams, OUT relation regclass, OUT key name)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.confrelid::regclass, p.attname
    FROM pg_constraint f
    JOIN pg_attribute k ON k.attrelid = f.conrelid AND k.attname = stream.key_column AND f.conkey = ARRAY[k.attnum]
    JOIN pg_attribute p ON p.attrelid = f.confrelid AND p.attnum = f.confkey[1]
   WHERE f.contype = 'f' AND f.conrelid = stream.relation
   ORDER BY f.oid LIMIT 1
$$;

-- The search_path that the owner of a table has in a session of its own. What belongs to the application and runs within
-- a function of Rowcast, such as a trigger, a policy or a guard, runs with it. pg_temp comes last, or the temporary types
-- of a caller would come before those of pg_catalog.
CREATE FUNCTION rowcast.owner_search_path(relation regclass) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp -- not SQL: that would be planned at every call
AS $$
BEGIN
  RETURN (SELECT replace(coalesce((
      SELECT substr(setting, length('search_path=') + 1)
        FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting
       WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
         AND s.setrole IN (0, c.relowner) AND setting LIKE 'search\_path=%'
       ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1), '"$user", public'),
      '"$user"', quote_ident(pg_get_userbyid(c.relowner))) || ', pg_temp'
    FROM pg_class c WHERE c.oid = relation);
END $$;

-- A table, or the partitions that have the rows of one.
CREATE FUNCTION rowcast.storage_of(relation regclass) RETURNS SETOF pg_class
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c FROM pg_class c
   WHERE c.relkind = 'r' AND (c.oid = relation OR c.oid IN (SELECT t.relid FROM pg_partition_tree(relation) t))
$$;

-- Whether a table has what a publication needs to publish its updates and deletes.
CREATE FUNCTION rowcast.has_identity(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.relreplident = 'f' OR EXISTS (
    SELECT FROM pg_index i
     WHERE i.indrelid = relation AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate WHEN 'i' THEN i.indisreplident END)
    FROM pg_class c WHERE c.oid = relation
$$;

-- Runs a statement with the triggers of a table off: to them it is no change of a row, and they may forbid one. The
-- statement names everything with its schema. Where a publication would refuse the change, the rows are their own identity.
CREATE FUNCTION rowcast.without_triggers(relation regclass, statement text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    record;
  enable text := 'SELECT;';
BEGIN
  FOR own IN SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal AND tgenabled <> 'D' LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', relation, own.tgname);
    enable := enable || format('ALTER TABLE %s ENABLE %s TRIGGER %I;', relation,
      CASE own.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, own.tgname);
  END LOOP;
  FOR own IN SELECT c.oid::regclass AS part, c.relreplident FROM rowcast.storage_of(relation) c
     WHERE NOT rowcast.has_identity(c.oid)
  LOOP
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', own.part);
    enable := enable || format('ALTER TABLE %s REPLICA IDENTITY %s;', own.part,
      CASE own.relreplident WHEN 'd' THEN 'DEFAULT' ELSE 'NOTHING' END);
  END LOOP;
  PERFORM set_config('search_path', rowcast.owner_search_path(relation), true);
  EXECUTE statement;
  EXECUTE enable;
END $$;

-- Declares the numbering of a stream lost, after a backup was restored or a table truncated: every position handed out
-- before is answered with a reset. After a restore in another cluster, rows carry the numbers of transactions that have
-- not begun there. They get the number of a transaction that ended before all others: else gateways would read them as
-- new, all at once, when the counter of the cluster reaches them.
CREATE FUNCTION rowcast.new_epoch(stream text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target       rowcast.streams;
  foreign_rows text;
  there_are    boolean;
  fresh        text;
BEGIN
  SELECT s.* INTO target FROM rowcast.streams s WHERE s.name = stream;
  -- The table first, as TRUNCATE, attach and detach do, or they and this could wait for each other.
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = target.relation) THEN -- else it was dropped
    -- What a snapshot shows has a lower number than its end, unless it was written here or in another cluster.
    foreign_rows := format('%1$I >= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
      AND %1$I <> pg_catalog.pg_current_xact_id()', target.tx_column);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s)', target.relation, foreign_rows) INTO there_are;
    IF there_are THEN
      PERFORM rowcast.without_triggers(target.relation,
        format('UPDATE %s SET %I = %L WHERE %s', target.relation, target.tx_column, '2', foreign_rows));
    END IF;
  END IF;
  UPDATE rowcast.streams s SET epoch = rowcast.make_epoch() WHERE s.name = stream RETURNING s.epoch INTO fresh;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream % of yours', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  RETURN fresh;
END $$;
