-- Retention: deletes the old end of each channel, remembers how much of each stream is kept, and drops old partitions.

-- One row per stream that has a policy or was pruned. Without `keep` and `keep_rows` everything is kept.
CREATE TABLE rowcast.retention (
  stream_id   int PRIMARY KEY REFERENCES rowcast.streams ON DELETE CASCADE,
  time_column name NOT NULL DEFAULT 'created_at',
  keep        interval CONSTRAINT keep_is_no_debt CHECK (keep >= interval '0'),
  keep_rows   bigint CONSTRAINT keep_rows_is_no_debt CHECK (keep_rows >= 0),
  -- Where the next batch begins: a batch that looked at all channels again would take as long as all batches.
  next_key    text NOT NULL DEFAULT ''
);

ALTER TABLE rowcast.retention ENABLE ROW LEVEL SECURITY;
CREATE POLICY read ON rowcast.retention FOR SELECT TO rowcast_gateway USING (true);
CREATE POLICY own ON rowcast.retention
  USING (EXISTS (SELECT FROM rowcast.streams s WHERE s.stream_id = retention.stream_id AND rowcast.owns(s.relation)));

-- The stream with this name, whose table has such a column for the time of an event.
CREATE FUNCTION rowcast.prunable(stream text, time_column name) RETURNS rowcast.streams
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_stream rowcast.streams;
BEGIN
  SELECT s.* INTO found_stream FROM rowcast.streams s WHERE s.name = stream;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  IF time_column IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = found_stream.relation AND a.attname = time_column
      AND a.atttypid = 'timestamptz'::regtype AND a.attnum > 0 AND NOT a.attisdropped)
  THEN
    RAISE EXCEPTION '% has no column % of type timestamptz', found_stream.relation, quote_ident(time_column)
      USING ERRCODE = 'undefined_column',
      HINT = format('Name the column with the time of an event: SELECT rowcast.retain(%L, time_column => …);', stream);
  END IF;
  RETURN found_stream;
END $$;

-- The policy of a stream, as a whole: an event is kept while it is younger than `keep` or among the last `keep_rows`
-- of its channel. Null keeps nothing by that rule; both null keep everything. Gateways prune by it.
CREATE FUNCTION rowcast.retain(
  stream text, keep interval DEFAULT NULL, keep_rows bigint DEFAULT NULL, time_column name DEFAULT 'created_at'
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- A policy by number alone needs no time.
  needs_time boolean := keep IS NOT NULL OR time_column <> 'created_at';
  target rowcast.streams := rowcast.prunable(stream, CASE WHEN needs_time THEN time_column END);
BEGIN
  INSERT INTO rowcast.retention AS r (stream_id, time_column, keep, keep_rows)
    VALUES (target.stream_id, retain.time_column, retain.keep, retain.keep_rows)
    ON CONFLICT (stream_id) DO UPDATE
      SET time_column = excluded.time_column, keep = excluded.keep, keep_rows = excluded.keep_rows;
END $$;

-- A policy that hid events from the role that deletes them would make holes.
CREATE FUNCTION rowcast.refuse_hidden(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF row_security_active(relation) THEN
    RAISE EXCEPTION 'row-level security hides events of % from %', relation, quote_ident(current_user)
      USING ERRCODE = 'insufficient_privilege', HINT = 'The owner of a table sees all its rows, unless row-level security is forced.';
  END IF;
END $$;

-- Deletes the events of each channel from its lowest on, as far as all of them are older than `keep` and none is
-- among the last `keep_rows`; at most `batch` of them, and returns how many: call it until it returns 0.
--
-- A writer waits for no more than one batch, and a batch never waits while it holds a channel, so no two can wait for
-- each other: it takes the channels in turn up to the first that a writer holds, and the next one begins there.
CREATE FUNCTION rowcast.prune(
  stream text, keep interval DEFAULT NULL, keep_rows bigint DEFAULT NULL, batch int DEFAULT 10000
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
-- A writer that sits there is left alone.
SET lock_timeout = '1s'
-- Step by step along the indexes, whatever the statistics say: a batch must not cost more in a larger table.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
  target   rowcast.streams;
  state    rowcast.retention;
  cutoff   timestamptz := now() - keep;
  key_type regtype;
  walk     text;
  old      record;
  keys     text[];
  firsts   bigint[];
  lasts    bigint[];
  wanted   bigint;
  holds    boolean;
  deleted  bigint;
  go_on    text;
  stuck    boolean := false;
BEGIN
  IF keep IS NULL AND keep_rows IS NULL THEN
    RAISE EXCEPTION 'nothing says what to keep of %', quote_literal(stream) USING ERRCODE = 'invalid_parameter_value',
      HINT = format('For example: SELECT rowcast.prune(%L, keep => ''30 days'');', stream);
  END IF;
  IF keep < interval '0' OR keep_rows < 0 OR batch < 1 THEN
    RAISE EXCEPTION 'keep and keep_rows cannot be negative, and a batch has at least one row'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  target := rowcast.prunable(stream, NULL);
  PERFORM rowcast.refuse_hidden(target.relation);
  -- The table first, as attach does. One batch of a stream at a time.
  EXECUTE format('LOCK TABLE %s IN ROW EXCLUSIVE MODE', target.relation);
  INSERT INTO rowcast.retention (stream_id) VALUES (target.stream_id) ON CONFLICT DO NOTHING;
  SELECT r.* INTO state FROM rowcast.retention r WHERE r.stream_id = target.stream_id FOR UPDATE;
  target := rowcast.prunable(stream, CASE WHEN keep IS NOT NULL THEN state.time_column END);
  key_type := (SELECT a.atttypid FROM pg_attribute a
    WHERE a.attrelid = target.relation AND a.attname = target.key_column);

  -- Of each channel that has something old: the lowest seq, and the last one to delete within this batch.
  walk := format($sql$
    SELECT c.key, f.seq AS first, l.seq AS last
      FROM rowcast.channels c
      CROSS JOIN LATERAL (SELECT min(t.%5$I) AS seq FROM %1$s t WHERE t.%2$I = c.key::%3$s) f
      CROSS JOIN LATERAL (SELECT least(
        f.seq + $3 - 1,
        %4$s,
        (SELECT max(t.%5$I) FROM %1$s t WHERE t.%2$I = c.key::%3$s) - coalesce($4, 0)) AS seq OFFSET 0) l
     WHERE c.stream_id = $1 AND c.key >= $2 AND l.seq >= f.seq
     ORDER BY c.key $sql$,
    target.relation, target.key_column, key_type,
    CASE WHEN keep IS NULL THEN 'NULL' ELSE format($sql$
        (SELECT t.%5$I - 1 FROM %1$s t WHERE t.%2$I = c.key::%3$s AND t.%5$I >= f.seq AND t.%5$I < f.seq + $3
          AND (t.%4$I < $5) IS NOT TRUE ORDER BY t.%5$I LIMIT 1)$sql$,
      target.relation, target.key_column, key_type, state.time_column, target.seq_column) END,
    target.seq_column);

  LOOP
    keys := '{}';
    firsts := '{}';
    lasts := '{}';
    wanted := 0;
    go_on := '';
    FOR old IN EXECUTE walk USING target.stream_id, state.next_key, batch, keep_rows, cutoff LOOP
      old.last := least(old.last, old.first + batch - wanted - 1);
      keys := keys || old.key;
      firsts := firsts || old.first;
      lasts := lasts || old.last;
      wanted := wanted + old.last - old.first + 1;
      go_on := old.key;
      EXIT WHEN wanted >= batch;
      go_on := '';
    END LOOP;

    -- Only now, so that no writer is held up while it walks. A key that is not locked becomes null, which joins no row.
    holds := false;
    FOR i IN 1 .. cardinality(keys) LOOP
      PERFORM FROM rowcast.channels c WHERE c.stream_id = target.stream_id AND c.key = keys[i]
        FOR NO KEY UPDATE SKIP LOCKED;
      IF NOT FOUND AND NOT stuck THEN
        IF holds THEN
          go_on := keys[i];
          keys := keys[:i - 1];
          EXIT;
        END IF;
        BEGIN
          PERFORM FROM rowcast.channels c WHERE c.stream_id = target.stream_id AND c.key = keys[i] FOR NO KEY UPDATE;
        EXCEPTION WHEN lock_not_available THEN
          stuck := true;
          keys[i] := NULL;
        END;
      ELSIF NOT FOUND THEN
        keys[i] := NULL;
      END IF;
      holds := holds OR keys[i] IS NOT NULL;
    END LOOP;

    -- An event that is being updated stays, and with it what follows it: a prefix goes, or nothing. Triggers of the
    -- table run with the search_path of its owner, so here all that it could give another meaning has its schema.
    PERFORM set_config('search_path', rowcast.owner_search_path(target.relation), true);
    EXECUTE format($sql$
      WITH free AS MATERIALIZED (
        SELECT t.%2$I AS key, t.%5$I AS seq, w.first FROM unnest($1::text[]::%3$s[], $2, $3) w(key, first, last)
          JOIN %1$s t ON t.%2$I OPERATOR(pg_catalog.=) w.key AND t.%5$I >= w.first AND t.%5$I <= w.last %4$s
          FOR UPDATE OF t SKIP LOCKED),
      numbered AS (SELECT *, pg_catalog.row_number() OVER (PARTITION BY key ORDER BY seq) AS nth FROM free),
      prefix AS (SELECT key, first, pg_catalog.max(seq) AS last FROM numbered WHERE seq = first + nth - 1 GROUP BY key, first)
      DELETE FROM %1$s t USING prefix p WHERE t.%2$I OPERATOR(pg_catalog.=) p.key AND t.%5$I >= p.first AND t.%5$I <= p.last %4$s $sql$,
      target.relation, target.key_column, key_type,
      -- Says nothing new, but which partitions need not be looked at.
      CASE WHEN keep IS NULL THEN '' ELSE format('AND t.%I < $4', state.time_column) END,
      target.seq_column)
      USING keys, firsts, lasts, cutoff;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    EXIT WHEN deleted > 0 OR state.next_key = '';
    -- Nothing from there on: 0 is only answered when nothing was found from the first channel on.
    state.next_key := '';
  END LOOP;
  UPDATE rowcast.retention r SET next_key = go_on
    WHERE r.stream_id = target.stream_id AND r.next_key <> go_on;
  RETURN deleted;
END $$;

-- <name>_prune prunes a stream by its own policy, which is all that a gateway may ask for; null where it has none, or while
-- another session prunes by it. It belongs to the owner of the table, as whom the triggers of that table run then.
CREATE FUNCTION rowcast.make_pruning(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $make$
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I() RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', stream.name || '_prune', format($sql$
    WITH policy AS MATERIALIZED (
      SELECT r.keep, r.keep_rows FROM rowcast.retention r
       WHERE r.stream_id = %2$s AND (r.keep IS NOT NULL OR r.keep_rows IS NOT NULL) FOR UPDATE SKIP LOCKED)
    SELECT rowcast.prune(%1$L, p.keep, p.keep_rows) FROM policy p$sql$, stream.name, stream.stream_id));
END $make$;

-- Gives up the events of a partition, and with them all that came before them in their channels: raises the floors,
-- detaches the partition and drops it, at once or not at all. Returns how many channels had events in it.
--
-- No writer fails because of it, and none waits long: it takes the table before the partition, as writers do, waits
-- for it holding nothing, and gives up (55P03) rather than wait on, since all others queue behind a lock that waits.
CREATE FUNCTION rowcast.drop_partition(partition regclass) RETURNS bigint
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
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
  PERFORM rowcast.refuse_hidden(target.relation), rowcast.refuse_hidden(partition);
  range_column := rowcast.range_column(target.relation);
  counted := format('SELECT min(first)::text, array_agg(key), array_agg(floor) FROM (
      SELECT t.%I::text AS key, max(t.%I) + 1 AS floor, min(t.%I) AS first FROM %s t WHERE t.%I >= $1 GROUP BY 1) c',
    target.key_column, target.seq_column, range_column, partition, target.tx_column);
  -- All of it without a lock; what was written since `began` is looked at again.
  EXECUTE counted INTO bound, keys, floors USING xid8 '0';
  EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I < %L)', target.relation, range_column, bound) INTO older;
  IF older THEN
    RAISE EXCEPTION 'there are older events than those of %', partition
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Drop the oldest partition first.';
  END IF;

  BEGIN
    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', target.relation);
    -- A session that holds one of the others may wait for the table now. Far less than deadlock_timeout, or the deadlock
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
    PERFORM set_config('rowcast.written', '', true); -- see rowcast.make_triggers
  EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION '% or a table that it refers to is in use', target.relation USING ERRCODE = 'lock_not_available',
      HINT = 'Nothing was changed. Try again later; a transaction or a query that is open for long is in the way.';
  END;
  RETURN touched;
END $$;
