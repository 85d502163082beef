-- Partitions: a table that is partitioned by a range of time can be a stream, and gives up its old partitions whole.

-- The column by whose ranges a table is partitioned; null where it is not partitioned, or in another way.
CREATE FUNCTION rowcast.range_column(relation regclass) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname FROM pg_partitioned_table p
    JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
   WHERE p.partrelid = relation AND p.partstrat = 'r' AND p.partnatts = 1
$$;

CREATE OR REPLACE FUNCTION rowcast.check_attachable(relation regclass, key name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tab pg_class := (SELECT c FROM pg_class c WHERE c.oid = relation);
  col record;
BEGIN
  IF tab.relkind NOT IN ('r', 'p') OR tab.relpersistence <> 'p' THEN
    RAISE EXCEPTION '% is not an ordinary table', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Views, foreign, temporary and unlogged tables cannot be attached.';
  END IF;
  IF tab.relispartition THEN
    RAISE EXCEPTION '% is a partition', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Attach the partitioned table that it belongs to.';
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

-- Runs a statement with the triggers of a table off: to them it is no change of a row, and they may forbid one.
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
  EXECUTE statement;
  EXECUTE enable;
END $$;

-- seq and tx for the rows that are there already: in the order of their partitions, and as they lie in the table.
CREATE OR REPLACE FUNCTION rowcast.add_numbers(relation regclass, key name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  range_column name := rowcast.range_column(relation);
BEGIN
  IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname IN ('seq', 'tx') AND NOT a.attisdropped) THEN
    RAISE EXCEPTION '% has a column named seq or tx already', relation USING ERRCODE = 'duplicate_column',
      HINT = 'Rowcast adds both columns itself: rename yours first.';
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN seq bigint, ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id()', relation);
  PERFORM rowcast.without_triggers(relation, format('UPDATE %s t SET seq = n.seq FROM (
      SELECT tableoid, ctid, row_number() OVER (PARTITION BY %I ORDER BY %sctid) AS seq FROM %1$s) n
    WHERE n.tableoid = t.tableoid AND n.ctid = t.ctid', relation, key, quote_ident(range_column) || ', tableoid, '));
  EXECUTE format('ALTER TABLE %s ALTER COLUMN seq SET NOT NULL', relation);
  -- In a partitioned table it could only be unique together with the time, which would say nothing.
  EXECUTE format('CREATE %s INDEX ON %s (%I, seq)', CASE WHEN range_column IS NULL THEN 'UNIQUE' END, relation, key);
  EXECUTE format('CREATE INDEX ON %s (tx)', relation);
END $$;

-- Refuses to renumber an event: readers hold its seq as their position.
CREATE OR REPLACE FUNCTION rowcast.refuse_renumbering() RETURNS trigger
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

-- Says which table a DELETE names: its partitions let go of rows only if it is the partitioned table.
CREATE FUNCTION rowcast.deleting() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM set_config('rowcast.deleting', CASE TG_WHEN WHEN 'BEFORE' THEN TG_RELID::text ELSE '' END, true);
  RETURN NULL;
END $$;

-- The trigger functions of one stream, with its names written in, so that their statements are planned once.
CREATE OR REPLACE FUNCTION rowcast.make_triggers(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $make$
DECLARE
  range_column name := rowcast.range_column(stream.relation);
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
          %5$s
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
    stream.name || '_number', stream.stream_id, stream.key_column, stream.relation,
    CASE WHEN range_column IS NULL THEN format($sql$
          -- The snapshot may be older than the last writer of this channel. An update, unlike a lock, makes
          -- Postgres say so (40001) to the second of two such writers, instead of a duplicate seq (23505).
          UPDATE rowcast.channels SET written_by = this_tx
            WHERE stream_id = %s AND key = NEW.%I::text AND written_by IS DISTINCT FROM this_tx;$sql$,
      stream.stream_id, stream.key_column)
    ELSE format($sql$
          -- No unique index would find the duplicate seq that a snapshot older than the last writer leads to.
          RAISE EXCEPTION 'the partitioned table %s takes inserts in READ COMMITTED only'
            USING ERRCODE = 'feature_not_supported';$sql$, stream.relation)
    END);

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
    WHEN (OLD.seq <> NEW.seq OR OLD.tx <> NEW.tx OR OLD.%2$I IS DISTINCT FROM NEW.%2$I
      OR OLD.%3$I IS DISTINCT FROM NEW.%3$I)
    EXECUTE FUNCTION rowcast.refuse_renumbering(%4$s)', stream.relation, stream.key_column,
    -- An event that moved to another partition would be inserted there, and numbered anew.
    coalesce(range_column, stream.key_column),
    CASE WHEN range_column IS NULL THEN '' ELSE quote_literal('seq, tx, the key and ' || range_column) END);
  EXECUTE format('CREATE TRIGGER zz_rowcast_floor AFTER DELETE ON %s REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
  EXECUTE format('CREATE TRIGGER zz_rowcast_truncated AFTER TRUNCATE ON %s
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.truncated()', stream.relation);
  -- A trigger for each row is also one of each partition, for those who write there directly; one for each statement
  -- is not.
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

-- Gives up the events of a partition, and with them all that came before them in their channels: raises the floors,
-- detaches the partition and drops it, at once or not at all. Returns how many channels had events in it.
--
-- No writer fails because of it, and none waits long: it takes the table before the partition, as writers do, waits
-- for it holding nothing, and gives up (55P03) rather than wait on, since all others queue behind a lock that waits.
CREATE FUNCTION rowcast.drop_partition(partition regclass) RETURNS bigint
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp SET row_security = off SET lock_timeout = '1s'
AS $$
DECLARE
  target       rowcast.streams;
  range_column name;
  counted      text;
  began        xid8 := pg_snapshot_xmin(pg_current_snapshot());
  bound        text;
  keys         text[];
  floors       bigint[];
  late_keys    text[];
  late_floors  bigint[];
  older        boolean;
  touched      bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a partition is dropped in READ COMMITTED only' USING ERRCODE = 'feature_not_supported';
  END IF;
  SELECT s.* INTO target FROM rowcast.streams s
    JOIN pg_inherits i ON i.inhparent = s.relation WHERE i.inhrelid = partition;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% is not a partition of a stream', partition USING ERRCODE = 'wrong_object_type';
  END IF;
  range_column := rowcast.range_column(target.relation);
  counted := format('SELECT min(first)::text, array_agg(key), array_agg(floor) FROM (
      SELECT %I::text AS key, max(seq) + 1 AS floor, min(%I) AS first FROM %s WHERE tx >= $1 GROUP BY 1) c',
    target.key_column, range_column, partition);
  -- All of it without a lock; what was written since `began` is looked at again.
  EXECUTE counted INTO bound, keys, floors USING xid8 '0';
  EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I < %L)', target.relation, range_column, bound) INTO older;
  IF older THEN
    RAISE EXCEPTION 'there are older events than those of %', partition
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Drop the oldest partition first.';
  END IF;

  BEGIN
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', target.relation);
    -- Whoever holds one of the others may wait for the table now. Far less than deadlock_timeout, or the deadlock
    -- would be found, and a writer could be the one that fails.
    SET LOCAL lock_timeout = '100ms';
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', partition);
    IF NOT EXISTS (SELECT FROM rowcast.streams s WHERE s.stream_id = target.stream_id AND s.epoch = target.epoch) THEN
      RAISE lock_not_available; -- what was counted belongs to another numbering
    END IF;
    EXECUTE counted INTO bound, late_keys, late_floors USING began;
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', target.relation, partition);
    -- Takes the tables that it refers to as well.
    EXECUTE format('DROP TABLE %s', partition);
    INSERT INTO rowcast.channels AS c (stream_id, key, floor)
      SELECT target.stream_id, f.key, max(f.floor)
        FROM unnest(keys || late_keys, floors || late_floors) f(key, floor) GROUP BY f.key
      ON CONFLICT (stream_id, key) DO UPDATE SET floor = greatest(c.floor, excluded.floor);
    GET DIAGNOSTICS touched = ROW_COUNT;
  EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'somebody uses % or a table that it refers to', target.relation USING ERRCODE = 'lock_not_available',
      HINT = 'Nothing was changed. Try again later; a transaction or a query that is open for long is in the way.';
  END;
  RETURN touched;
END $$;
