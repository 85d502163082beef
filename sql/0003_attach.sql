-- attach / detach: makes a table a stream. Adds the columns seq and tx, their indexes, and four triggers.

-- Refuses to renumber an event: readers hold its seq as their position.
CREATE FUNCTION rowcast.refuse_renumbering() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'seq, tx and the key of an event cannot be changed (table %)', TG_RELID::regclass
    USING ERRCODE = 'restrict_violation', HINT = 'Events are append-only: insert a new row instead.';
END $$;

CREATE FUNCTION rowcast.truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM rowcast.channels c USING rowcast.streams s
    WHERE s.relation = TG_RELID AND c.stream_id = s.stream_id;
  PERFORM rowcast.new_epoch(s.name) FROM rowcast.streams s WHERE s.relation = TG_RELID;
  RETURN NULL;
END $$;

-- Says why a table cannot be a stream, before anything is changed.
CREATE FUNCTION rowcast.check_attachable(relation regclass, key name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tab pg_class := (SELECT c FROM pg_class c WHERE c.oid = relation);
  col record;
BEGIN
  IF tab.relkind <> 'r' OR tab.relpersistence <> 'p' THEN
    RAISE EXCEPTION '% is not an ordinary table', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Views, foreign, partitioned, temporary and unlogged tables cannot be attached.';
  END IF;
  IF tab.relforcerowsecurity THEN
    RAISE EXCEPTION '% forces row-level security on its owner, who then cannot see all numbers', relation
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', relation);
  END IF;
  SELECT a.attnotnull, a.atttypid::regtype AS type, coalesce(l.collisdeterministic, true) AS deterministic INTO col
    FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = relation AND a.attname = key AND a.attnum > 0 AND NOT a.attisdropped;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% has no column %', relation, quote_ident(key) USING ERRCODE = 'undefined_column';
  END IF;
  IF col.type NOT IN ('uuid', 'text', 'varchar', 'smallint', 'int', 'bigint') OR NOT col.deterministic THEN
    RAISE EXCEPTION 'column % of % cannot be a key: its type is %', quote_ident(key), relation, col.type
      USING ERRCODE = 'datatype_mismatch',
      HINT = 'A key is a uuid, text, varchar, smallint, integer or bigint, with a deterministic collation.';
  END IF;
  IF NOT col.attnotnull THEN
    RAISE EXCEPTION 'column % of % may be null, and a row without a key belongs to no channel', quote_ident(key), relation
      USING ERRCODE = 'not_null_violation',
      HINT = format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', relation, key);
  END IF;
END $$;

-- seq and tx for the rows that are there already, in the order in which they lie in the table.
CREATE FUNCTION rowcast.add_numbers(relation regclass, key name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  own    record;
  enable text := 'SELECT;';
BEGIN
  IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname IN ('seq', 'tx') AND NOT a.attisdropped) THEN
    RAISE EXCEPTION '% has a column named seq or tx already', relation USING ERRCODE = 'duplicate_column',
      HINT = 'Rowcast adds both columns itself: rename yours first.';
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN seq bigint, ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id()', relation);
  -- Without the table's own triggers: to them this is no change of a row, and they may forbid one.
  FOR own IN SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal AND tgenabled <> 'D' LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', relation, own.tgname);
    enable := enable || format('ALTER TABLE %s ENABLE %s TRIGGER %I;', relation,
      CASE own.tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, own.tgname);
  END LOOP;
  EXECUTE format('UPDATE %s t SET seq = n.seq FROM (
      SELECT ctid, row_number() OVER (PARTITION BY %I ORDER BY ctid) AS seq FROM %1$s) n
    WHERE n.ctid = t.ctid', relation, key);
  EXECUTE enable;
  EXECUTE format('ALTER TABLE %s ALTER COLUMN seq SET NOT NULL', relation);
  EXECUTE format('CREATE UNIQUE INDEX ON %s (%I, seq)', relation, key);
  EXECUTE format('CREATE INDEX ON %s (tx)', relation);
END $$;

-- The trigger functions of one stream, with its names written in, so that their statements are planned once.
CREATE FUNCTION rowcast.make_triggers(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $make$
BEGIN
  -- SECURITY DEFINER: what the writer may see must not change a number.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION rowcast.%1$I() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
      this_tx  xid8 := pg_current_xact_id();
      floor_at bigint;
      last_seq bigint;
    BEGIN
      LOOP
        IF current_setting('transaction_isolation') <> 'read committed' THEN
          -- The snapshot may be older than the last writer of this channel. An update, unlike a lock, makes
          -- Postgres say so (40001) to the second of two such writers, instead of a duplicate seq (23505).
          UPDATE rowcast.channels SET written_by = this_tx
            WHERE stream_id = %2$s AND key = NEW.%3$I::text AND written_by IS DISTINCT FROM this_tx;
        END IF;
        SELECT floor INTO floor_at FROM rowcast.channels
          WHERE stream_id = %2$s AND key = NEW.%3$I::text FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO rowcast.channels (stream_id, key) VALUES (%2$s, NEW.%3$I::text) ON CONFLICT DO NOTHING;
      END LOOP;
      -- A statement of its own: its snapshot must be taken after the lock was granted.
      last_seq := (SELECT max(seq) FROM %4$s WHERE %3$I = NEW.%3$I);
      NEW.seq := greatest(last_seq, floor_at - 1) + 1;
      NEW.tx := this_tx;
      RETURN NEW;
    END $$ $sql$,
    stream.name || '_number', stream.stream_id, stream.key_column, stream.relation);

  -- Readers count on a channel without holes, so whoever deletes an event gives up all that came before it.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION rowcast.%1$I() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
      IF EXISTS (SELECT FROM %4$s t JOIN deleted d ON t.%3$I = d.%3$I AND t.seq = d.seq) THEN
        RAISE EXCEPTION 'a statement cannot delete an event and insert one that takes its number (table %4$s)'
          USING ERRCODE = 'feature_not_supported', HINT = 'Delete and insert in two statements.';
      END IF;
      INSERT INTO rowcast.channels AS c (stream_id, key, floor)
        SELECT %2$s, %3$I::text, max(seq) + 1 FROM deleted GROUP BY %3$I ORDER BY %3$I
        ON CONFLICT (stream_id, key) DO UPDATE SET floor = excluded.floor WHERE excluded.floor > c.floor;
      RETURN NULL;
    END $$ $sql$,
    stream.name || '_raise_floor', stream.stream_id, stream.key_column, stream.relation);

  PERFORM rowcast.drop_triggers(stream.relation);
  -- zz_: triggers fire in the order of their names, and the number must be given last.
  EXECUTE format('CREATE TRIGGER zz_rowcast_number BEFORE INSERT ON %s
    FOR EACH ROW EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_number');
  EXECUTE format('CREATE TRIGGER zz_rowcast_keep BEFORE UPDATE ON %s FOR EACH ROW
    WHEN (OLD.seq <> NEW.seq OR OLD.tx <> NEW.tx OR OLD.%2$I IS DISTINCT FROM NEW.%2$I)
    EXECUTE FUNCTION rowcast.refuse_renumbering()', stream.relation, stream.key_column);
  EXECUTE format('CREATE TRIGGER zz_rowcast_floor AFTER DELETE ON %s REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
  EXECUTE format('CREATE TRIGGER zz_rowcast_truncated AFTER TRUNCATE ON %s
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.truncated()', stream.relation);
  EXECUTE format('CREATE TRIGGER zz_rowcast_ring AFTER INSERT ON %s
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.ring()', stream.relation);
END $make$;

CREATE FUNCTION rowcast.drop_triggers(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  trigger name;
BEGIN
  FOR trigger IN SELECT tgname FROM pg_trigger WHERE tgrelid = relation AND tgname LIKE 'zz\_rowcast\_%' LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger, relation);
  END LOOP;
END $$;

-- Makes a table a stream; every row inserted from now on is an event of the channel `<name>:<key>`.
-- Run it again after renaming the table or its key: it writes the triggers anew and keeps the numbering.
CREATE FUNCTION rowcast.attach(relation regclass, key name, name text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stream rowcast.streams;
  wanted text := coalesce(name, (SELECT lower(c.relname) FROM pg_class c WHERE c.oid = relation));
BEGIN
  PERFORM rowcast.check_attachable(relation, key);
  -- The table first, as its writers do, or they and this could wait for each other.
  EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
  SELECT s.* INTO stream FROM rowcast.streams s WHERE s.relation = attach.relation FOR UPDATE;
  IF FOUND AND attach.name IS NOT NULL AND stream.name <> attach.name THEN
    RAISE EXCEPTION '% is attached already, as stream %', relation, stream.name USING ERRCODE = 'duplicate_object',
      HINT = format('SELECT rowcast.detach(%L);', stream.name);
  ELSIF FOUND THEN
    UPDATE rowcast.streams s SET key_column = attach.key WHERE s.stream_id = stream.stream_id RETURNING s.* INTO stream;
  ELSE
    PERFORM rowcast.add_numbers(relation, key);
    INSERT INTO rowcast.streams (name, relation, key_column) VALUES (wanted, attach.relation, attach.key)
      RETURNING * INTO stream;
    EXECUTE format('INSERT INTO rowcast.channels (stream_id, key) SELECT DISTINCT %s, %I::text FROM %s',
      stream.stream_id, key, relation);
  END IF;
  PERFORM rowcast.make_triggers(stream);
  RETURN stream.name;
END $$;

-- Undoes attach: the triggers and the columns seq and tx go, the table and its rows stay.
CREATE FUNCTION rowcast.detach(stream text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation regclass := (SELECT s.relation FROM rowcast.streams s WHERE s.name = stream);
  exists   boolean := EXISTS (SELECT FROM pg_class c WHERE c.oid = relation);
BEGIN
  IF relation IS NULL THEN
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  IF exists THEN -- else it was dropped
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
  END IF;
  DELETE FROM rowcast.streams s WHERE s.name = stream;
  PERFORM rowcast.drop_triggers(relation);
  EXECUTE format('DROP FUNCTION rowcast.%I(), rowcast.%I()', stream || '_number', stream || '_raise_floor');
  IF exists THEN
    EXECUTE format('ALTER TABLE %s DROP COLUMN seq, DROP COLUMN tx', relation);
  END IF;
END $$;
