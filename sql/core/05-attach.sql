-- attach and detach: make a table a stream, and an ordinary table again. attach adds the columns seq and tx, their indexes,
-- triggers, and rights for gateways; detach takes away all of that.

-- The column by whose ranges a table is partitioned; null where it is not partitioned, or in another way.
CREATE FUNCTION rowcast.range_column(relation regclass) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname FROM pg_partitioned_table p
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
   WHERE p.partrelid = relation AND p.partstrat = 'r' AND p.partnatts = 1
$$;

-- Triggers that would fire after the one that gives a number, or after the one that keeps it: what those have read could
-- still be changed.
CREATE FUNCTION rowcast.later_triggers(source regclass, OUT name name, OUT relation regclass, OUT mend text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.tgname, c.oid::regclass, format('ALTER TRIGGER %I ON %s RENAME TO %I;', t.tgname, c.oid::regclass, left('a_' || t.tgname, 63))
    FROM rowcast.storage_of(source) c JOIN pg_trigger t ON t.tgrelid = c.oid
   WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'zz\_rowcast\_%' AND t.tgtype & 3 = 3 -- BEFORE, FOR EACH ROW
     AND (t.tgtype & 4 <> 0 AND t.tgname COLLATE "C" > 'zz_rowcast_number' OR t.tgtype & 16 <> 0 AND t.tgname COLLATE "C" > 'zz_rowcast_keep')
   ORDER BY t.tgname
$$;

-- Says why a table cannot be a stream, before anything is changed.
CREATE FUNCTION rowcast.check_attachable(relation regclass, key name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tab   pg_class := (SELECT c FROM pg_class c WHERE c.oid = relation);
  col   record;
  wrong record;
BEGIN
  IF tab.relkind NOT IN ('r', 'p') OR tab.relpersistence = 't' THEN
    RAISE EXCEPTION '% is not an ordinary table', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Attach the table that its rows come from, or copy them to an ordinary table with a trigger.';
  END IF;
  SELECT c.oid::regclass AS relation INTO wrong FROM rowcast.storage_of(relation) c WHERE c.relpersistence = 'u' LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '% is unlogged: a crash would empty it, and its numbers would begin again', wrong.relation
      USING ERRCODE = 'wrong_object_type', HINT = format('ALTER TABLE %s SET LOGGED;', wrong.relation);
  END IF;
  IF tab.relispartition THEN
    RAISE EXCEPTION '% is a partition', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Attach the partitioned table that it belongs to.';
  END IF;
  IF tab.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = relation) THEN
    RAISE EXCEPTION '% has child tables (INHERITS), whose rows would get no numbers', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Attach a table without children, or a partitioned table.';
  END IF;
  IF tab.relkind = 'p' AND coalesce(rowcast.range_column(relation), key) = key THEN
    RAISE EXCEPTION '% is not partitioned by ranges of one column other than its key', relation
      USING ERRCODE = 'wrong_object_type', HINT = 'PARTITION BY RANGE (created_at), for example.';
  END IF;
  IF tab.relforcerowsecurity THEN
    RAISE EXCEPTION '% forces row-level security on its owner, who then cannot see all numbers', relation
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', relation);
  END IF;
  SELECT t.* INTO wrong FROM rowcast.later_triggers(relation) t LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the trigger % of % fires after those of Rowcast, and could change a key or number', wrong.name, wrong.relation
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = format('Triggers fire in the order of their names: %s', wrong.mend);
  END IF;
  SELECT a.attnotnull, a.attgenerated, a.atttypid::regtype AS type, coalesce(l.collisdeterministic, true) AS deterministic INTO col
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
  IF col.attgenerated <> '' THEN
    RAISE EXCEPTION 'column % of % cannot be a key: it is generated after the triggers have run', quote_ident(key), relation
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'Set an ordinary column to that value in a BEFORE INSERT trigger, and attach the table with that key.';
  END IF;
  IF NOT col.attnotnull THEN
    RAISE EXCEPTION 'column % of % may be null, and a row without a key belongs to no channel', quote_ident(key), relation
      USING ERRCODE = 'not_null_violation',
      HINT = format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;', relation, key);
  END IF;
END $$;

-- seq and tx for the rows that are there already: in the order of their partitions, and as they lie in the table. The
-- inner ORDER BY keeps the rows of the rewritten table in that order.
CREATE FUNCTION rowcast.add_numbers(relation regclass, key name, longest int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  range_column name := rowcast.range_column(relation);
  unnamed      text;
BEGIN
  IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname IN ('seq', 'tx') AND NOT a.attisdropped) THEN
    RAISE EXCEPTION '% has a column named seq or tx already', relation USING ERRCODE = 'duplicate_column',
      HINT = 'Rowcast adds both columns itself. Rename yours; or, if the table is a copy of a stream, drop them.';
  END IF;
  EXECUTE format('SELECT %1$I::text FROM %2$s WHERE length(%1$I::text) NOT BETWEEN 1 AND %3$s LIMIT 1', key, relation, longest) INTO unnamed;
  IF unnamed IS NOT NULL THEN
    RAISE EXCEPTION '% has a row whose key has % characters', relation, length(unnamed) USING ERRCODE = 'check_violation',
      HINT = format('A key of this stream has between 1 and %s characters. Change or delete the rows with others.', longest);
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN seq bigint, ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id()', relation);
  PERFORM rowcast.without_triggers(relation, format('UPDATE %s t SET seq = n.seq FROM (
      SELECT tableoid, ctid, pg_catalog.row_number() OVER (PARTITION BY %I ORDER BY %sctid) AS seq FROM %1$s
       ORDER BY tableoid, ctid) n
    WHERE n.tableoid = t.tableoid AND n.ctid = t.ctid', relation, key, quote_ident(range_column) || ', tableoid, '));
  EXECUTE format('ALTER TABLE %s ALTER COLUMN seq SET NOT NULL', relation);
  -- In a partitioned table it could only be unique together with the time, which would say nothing.
  EXECUTE format('CREATE %s INDEX ON %s (%I, seq)', CASE WHEN range_column IS NULL THEN 'UNIQUE' END, relation, key);
  EXECUTE format('CREATE INDEX ON %s (tx)', relation);
  -- Or a publication that publishes deletes would keep every event for ever.
  IF range_column IS NULL AND NOT rowcast.has_identity(relation) THEN
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', relation, (
      SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[1]
       WHERE i.indrelid = relation AND i.indisunique AND a.attname = 'seq'));
  END IF;
END $$;

-- Refuses to renumber an event: readers hold its seq as their position.
CREATE FUNCTION rowcast.refuse_renumbering() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '% of an event cannot be changed (table %)', coalesce(TG_ARGV[0], 'seq, tx and the key'), TG_RELID::regclass
    USING ERRCODE = 'restrict_violation', HINT = 'Events are append-only: insert a new row instead.';
END $$;

CREATE FUNCTION rowcast.refuse_partition() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'events cannot be deleted from the partition % itself', TG_RELID::regclass
    USING ERRCODE = 'restrict_violation',
    HINT = 'Delete from the partitioned table, or drop the partition: SELECT rowcast.drop_partition(…);';
END $$;

-- Tells the partitions which table a DELETE names: they let go of rows only if it is the partitioned table.
CREATE FUNCTION rowcast.deleting() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('rowcast.deleting', CASE TG_WHEN WHEN 'BEFORE' THEN TG_RELID::text ELSE '' END, true);
  RETURN NULL;
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

-- In characters: what the protocol allows for a channel, without the name of the stream and the colon.
CREATE FUNCTION rowcast.longest_key(stream text) RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 512 - length(stream) - 1 $$;

-- The trigger functions of one stream, with its names written in, so that their statements are planned once.
CREATE FUNCTION rowcast.make_triggers(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $make$
DECLARE
  range_column name := rowcast.range_column(stream.relation);
BEGIN
  -- SECURITY DEFINER: what the writer may see must not change a number. The body is a literal, because a name may contain $$.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', stream.name || '_number', format($sql$
    DECLARE
      this_tx  xid8 := pg_current_xact_id();
      floor_at bigint;
      last_seq bigint;
    BEGIN%5$s
      LOOP
        IF current_setting('transaction_isolation') <> 'read committed' THEN
          %4$s
        END IF;
        SELECT floor INTO floor_at FROM rowcast.channels
          WHERE stream_id = %1$s AND key = NEW.%2$I::text FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO rowcast.channels (stream_id, key) VALUES (%1$s, NEW.%2$I::text) ON CONFLICT DO NOTHING;
      END LOOP;
      -- A statement of its own: its snapshot must be taken after the lock was granted.
      last_seq := (SELECT max(t.seq) FROM %3$s t WHERE t.%2$I = NEW.%2$I);
      NEW.seq := greatest(last_seq, floor_at - 1) + 1;
      NEW.tx := this_tx;
      RETURN NEW;
    END $sql$,
    stream.stream_id, stream.key_column, stream.relation,
    CASE WHEN range_column IS NULL THEN format($sql$
          -- The snapshot may be older than the last writer of this channel. An update, unlike a lock, makes
          -- Postgres say so (40001) to the second of two such writers, instead of a duplicate seq (23505).
          UPDATE rowcast.channels SET written_by = this_tx
            WHERE stream_id = %s AND key = NEW.%I::text AND written_by IS DISTINCT FROM this_tx;$sql$,
      stream.stream_id, stream.key_column)
    ELSE format($sql$
          -- No unique index would find the duplicate seq that a snapshot older than the last writer leads to.
          RAISE EXCEPTION 'the partitioned table %% takes inserts in READ COMMITTED only', %L
            USING ERRCODE = 'feature_not_supported';$sql$, stream.relation)
    END,
    -- A channel that no reader could name.
    CASE WHEN (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = stream.relation AND a.attname = stream.key_column)
      IN ('text'::regtype, 'varchar'::regtype)
    THEN format($sql$
      IF length(NEW.%1$I) NOT BETWEEN 1 AND %2$s THEN
        RAISE EXCEPTION 'a key of the stream %3$s has between 1 and %2$s characters, and not %%', length(NEW.%1$I)
          USING ERRCODE = 'check_violation', COLUMN = %4$L, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
      END IF;$sql$, stream.key_column, rowcast.longest_key(stream.name), stream.name, stream.key_column)
    END));

  -- Readers count on a channel without holes, so to delete an event is to give up all that came before it.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', stream.name || '_raise_floor', format($sql$
    BEGIN
      IF EXISTS (SELECT FROM %3$s t JOIN deleted d ON t.%2$I = d.%2$I AND t.seq = d.seq) THEN
        RAISE EXCEPTION 'a statement cannot delete an event and insert one that takes its number (table %%)', %3$L
          USING ERRCODE = 'feature_not_supported', HINT = 'Delete and insert in two statements.';
      END IF;
      INSERT INTO rowcast.channels AS c (stream_id, key, floor)
        SELECT %1$s, d.%2$I::text, max(d.seq) + 1 FROM deleted d GROUP BY d.%2$I ORDER BY d.%2$I
        ON CONFLICT (stream_id, key) DO UPDATE SET floor = excluded.floor WHERE excluded.floor > c.floor;
      RETURN NULL;
    END $sql$,
    stream.stream_id, stream.key_column, stream.relation));

  PERFORM rowcast.drop_triggers(stream.relation);
  -- zz_: triggers fire in the order of their names, and the number must be given last.
  EXECUTE format('CREATE TRIGGER zz_rowcast_number BEFORE INSERT ON %s
    FOR EACH ROW EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_number');
  EXECUTE format('CREATE TRIGGER zz_rowcast_keep BEFORE UPDATE ON %s FOR EACH ROW
    WHEN (OLD.seq <> NEW.seq OR OLD.tx <> NEW.tx OR OLD.%2$I IS DISTINCT FROM NEW.%2$I%3$s)
    EXECUTE FUNCTION rowcast.refuse_renumbering(%4$s)', stream.relation, stream.key_column,
    -- An event that moved to another partition would be inserted there, and numbered again.
    ' OR OLD.' || quote_ident(range_column) || ' IS DISTINCT FROM NEW.' || quote_ident(range_column),
    quote_literal('seq, tx, the key and ' || range_column));
  EXECUTE format('CREATE TRIGGER zz_rowcast_floor AFTER DELETE ON %s REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
  EXECUTE format('CREATE TRIGGER zz_rowcast_truncated AFTER TRUNCATE ON %s
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.truncated()', stream.relation);
  -- A trigger for each row is also one of each partition, and so fires for rows that are written to a partition directly;
  -- one for each statement does not.
  EXECUTE format('CREATE TRIGGER zz_rowcast_ring AFTER INSERT ON %s
    FOR EACH %s EXECUTE FUNCTION rowcast.ring()', stream.relation,
    CASE WHEN range_column IS NULL THEN 'STATEMENT' ELSE 'ROW' END);
  IF range_column IS NOT NULL THEN
    EXECUTE format('CREATE TRIGGER zz_rowcast_delete BEFORE DELETE ON %1$s
      FOR EACH STATEMENT EXECUTE FUNCTION rowcast.deleting()', stream.relation);
    EXECUTE format('CREATE TRIGGER zz_rowcast_deleted AFTER DELETE ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION rowcast.deleting()', stream.relation);
    EXECUTE format('CREATE TRIGGER zz_rowcast_partition BEFORE DELETE ON %s FOR EACH ROW
      WHEN (current_setting(''rowcast.deleting'', true) IS DISTINCT FROM %L)
      EXECUTE FUNCTION rowcast.refuse_partition()', stream.relation, stream.relation::oid);
  END IF;
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
-- Run it again after renaming the table or its key, or after a foreign key of the key came or went: it writes the
-- triggers and functions again and keeps the numbering.
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
  ELSIF FOUND AND attach.key <> stream.key_column AND EXISTS (
    -- One that was renamed is not there by its old name.
    SELECT FROM pg_attribute a
     WHERE a.attrelid = attach.relation AND a.attname = stream.key_column AND NOT a.attisdropped)
  THEN
    RAISE EXCEPTION '% is attached with the key %, and its events are numbered by that', relation, quote_ident(stream.key_column)
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = format('Detach it first, which gives up its numbers: SELECT rowcast.detach(%L);', stream.name);
  ELSIF FOUND THEN
    UPDATE rowcast.streams s SET key_column = attach.key WHERE s.stream_id = stream.stream_id RETURNING s.* INTO stream;
  ELSE
    PERFORM rowcast.add_numbers(relation, key, rowcast.longest_key(wanted));
    INSERT INTO rowcast.streams (name, relation, key_column) VALUES (wanted, attach.relation, attach.key)
      RETURNING * INTO stream;
    EXECUTE format('INSERT INTO rowcast.channels (stream_id, key) SELECT DISTINCT %s, %I::text FROM %s',
      stream.stream_id, key, relation);
    RAISE NOTICE 'writers of one channel of % now wait for each other until they commit', stream.name
      USING DETAIL = 'What attach costs your writers: docs/operations/writers.md';
  END IF;
  PERFORM rowcast.make_triggers(stream);
  PERFORM rowcast.make_access(stream);
  RETURN stream.name;
END $$;

-- Undoes attach: the table and its rows stay.
CREATE FUNCTION rowcast.detach(stream text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target   rowcast.streams;
  parent   regclass;
  is_there boolean;
BEGIN
  SELECT s.* INTO target FROM rowcast.streams s WHERE s.name = stream;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  is_there := EXISTS (SELECT FROM pg_class c WHERE c.oid = target.relation); -- else it was dropped
  IF is_there THEN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', target.relation);
    parent := (SELECT p.relation FROM rowcast.parent_of(target) p);
  END IF;
  DELETE FROM rowcast.streams s WHERE s.stream_id = target.stream_id;
  PERFORM rowcast.drop_triggers(target.relation);
  EXECUTE format('DROP FUNCTION IF EXISTS rowcast.%I(), rowcast.%I(), rowcast.%I(text)',
    stream || '_number', stream || '_raise_floor', stream || '_can_read');
  IF is_there THEN
    EXECUTE format('ALTER TABLE %s DROP COLUMN seq, DROP COLUMN tx', target.relation);
    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = target.relation AND c.relreplident = 'i')
      AND NOT rowcast.has_identity(target.relation)
    THEN
      EXECUTE format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', target.relation);
    END IF;
    PERFORM rowcast.close_to_gateway(target.relation), rowcast.close_to_gateway(parent);
  END IF;
END $$;
