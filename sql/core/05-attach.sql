-- attach and detach: make a table a stream, and an ordinary table again. attach adds the columns seq and tx (or others, by
-- its option), their indexes, triggers, and rights for gateways; detach takes away all of that.

-- seq and tx for the rows that are there already: in the order of their partitions, and as they lie in the table. The
-- inner ORDER BY keeps the rows of the rewritten table in that order.
CREATE FUNCTION rowcast.add_numbers(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation     regclass := stream.relation;
  key          name := stream.key_column;
  seq          name := stream.seq_column;
  tx           name := stream.tx_column;
  longest      int := rowcast.longest_key(stream.name);
  range_column name := rowcast.range_column(relation);
  unnamed      text;
BEGIN
  IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname IN (seq, tx) AND NOT a.attisdropped) THEN
    RAISE EXCEPTION '% has a column named % or % already', relation, quote_ident(seq), quote_ident(tx)
      USING ERRCODE = 'duplicate_column', HINT = format('Rowcast adds both columns itself. Give them other names:'
        ' SELECT rowcast.attach(%L, %L, seq => ''rowcast_seq'', tx => ''rowcast_tx'');'
        ' or, if the table is a copy of a stream, drop them.', relation, key);
  END IF;
  EXECUTE format('SELECT %1$I::text FROM %2$s WHERE length(%1$I::text) NOT BETWEEN 1 AND %3$s LIMIT 1', key, relation, longest) INTO unnamed;
  IF unnamed IS NOT NULL THEN
    RAISE EXCEPTION '% has a row whose key has % characters', relation, length(unnamed) USING ERRCODE = 'check_violation',
      HINT = format('A key of this stream has between 1 and %s characters. Change or delete the rows with others.', longest);
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN %I bigint, ADD COLUMN %I xid8 NOT NULL DEFAULT pg_current_xact_id()', relation, seq, tx);
  PERFORM rowcast.without_triggers(relation, format('UPDATE %s t SET %I = n.nth FROM (
      SELECT tableoid, ctid, pg_catalog.row_number() OVER (PARTITION BY %I ORDER BY %sctid) AS nth FROM %1$s
       ORDER BY tableoid, ctid) n
    WHERE n.tableoid = t.tableoid AND n.ctid = t.ctid', relation, seq, key, quote_ident(range_column) || ', tableoid, '));
  EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', relation, seq);
  -- In a partitioned table it could only be unique together with the time, which would say nothing.
  EXECUTE format('CREATE %s INDEX ON %s (%I, %I)', CASE WHEN range_column IS NULL THEN 'UNIQUE' END, relation, key, seq);
  EXECUTE format('CREATE INDEX ON %s (%I)', relation, tx);
  -- Or a publication that publishes deletes would keep every event for ever.
  IF range_column IS NULL AND NOT rowcast.has_identity(relation) THEN
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', relation, (
      SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[1]
       WHERE i.indrelid = relation AND i.indisunique AND a.attname = seq));
  END IF;
END $$;

-- Refuses to renumber an event: readers hold its seq as their position.
CREATE FUNCTION rowcast.refuse_renumbering() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION '% of an event cannot be changed (table %)', TG_ARGV[0], TG_RELID::regclass
    USING ERRCODE = 'restrict_violation', HINT = 'Events are append-only: insert a new row instead.';
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
  -- To lock a channel and to look up its last number are two statements, which cost more than the rest of an INSERT. If the last
  -- event of the channel is one of this transaction, one statement is enough: the transaction holds the lock, which only a
  -- rollback releases that removes this event as well. The setting rowcast.written names the channel for which that is worth a
  -- try, and a number from which on to look: an index scan reads all entries of a channel on a page. It is set by every eighth event
  -- and emptied when a floor rises, so that the number is above `gone`. Whatever a session sets there itself, what is found from
  -- that number on is the last event of the channel.
  -- SECURITY DEFINER: what the writer may see must not change a number. The body is a literal, because a name may contain $$.
  -- Neither a sequential scan nor max(), which may read all rows of the key: the plan is made for the small table that there
  -- is, and one INSERT can make it a large one.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS %L', stream.name || '_number', format($sql$
    DECLARE
      this_tx  xid8 := pg_current_xact_id();
      written  text := current_setting('rowcast.written', true);
      near     bigint;
      gone     bigint; -- the highest number that may have been given to an event that is no more
      last_seq bigint;
      last_tx  xid8;
    BEGIN%5$s
      IF substr(written, 20) = '%1$s:' || NEW.%2$I::text THEN
        near := left(written, 19);
        SELECT t.%6$I, t.%7$I INTO last_seq, last_tx FROM %3$s t WHERE t.%2$I = NEW.%2$I AND t.%6$I >= near
          ORDER BY t.%6$I DESC LIMIT 1;
      END IF;
      IF last_tx IS DISTINCT FROM this_tx THEN
        LOOP
          IF current_setting('transaction_isolation') <> 'read committed' THEN
            %4$s
          END IF;
          SELECT greatest(floor - 1, top) INTO gone FROM rowcast.channels
            WHERE stream_id = %1$s AND key = NEW.%2$I::text FOR NO KEY UPDATE;
          EXIT WHEN FOUND;
          INSERT INTO rowcast.channels (stream_id, key) VALUES (%1$s, NEW.%2$I::text) ON CONFLICT DO NOTHING;
        END LOOP;
        -- A statement of its own: its snapshot must be taken after the lock was granted.
        SELECT t.%6$I, t.%7$I INTO last_seq, last_tx FROM %3$s t WHERE t.%2$I = NEW.%2$I ORDER BY t.%6$I DESC LIMIT 1;
      END IF;
      NEW.%6$I := greatest(last_seq, gone) + 1;
      NEW.%7$I := this_tx;
      IF last_tx = this_tx AND NEW.%6$I %% 8 = 0 THEN
        PERFORM set_config('rowcast.written', lpad(NEW.%6$I::text, 19, '0') || '%1$s:' || NEW.%2$I::text, true);
      END IF;
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
    END,
    stream.seq_column, stream.tx_column));

  -- Readers count on a channel without holes, so to delete an event is to give up all that came before it.
  -- A statement that names a partition fires no trigger for each statement of the table, so in a partitioned table each row
  -- raises the floor itself: before any is gone, `top` takes the last number of the channel; when all are gone, the floor rises
  -- to what is left behind the row, or past `top`. That is two updates for a channel, however many of its rows go; rows that stay
  -- between them make it one more for each thousand.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS %L', stream.name || '_raise_floor', format($sql$
    BEGIN
      IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM rowcast.channels WHERE stream_id = %1$s;
        UPDATE rowcast.streams SET epoch = rowcast.make_epoch() WHERE stream_id = %1$s;
        RETURN NULL;
      END IF;
%5$s
      RETURN NULL;
    END $sql$,
    stream.stream_id, stream.key_column, stream.relation, stream.seq_column,
    format(CASE WHEN range_column IS NULL THEN $sql$
      -- OFFSET 0: one look at the index for each deleted row, however few rows the plan was made for.
      IF EXISTS (SELECT FROM deleted d WHERE EXISTS (SELECT FROM %3$s t WHERE t.%2$I = d.%2$I AND t.%4$I = d.%4$I OFFSET 0)) THEN
        RAISE EXCEPTION 'a statement cannot delete an event and insert one that takes its number (table %%)', %3$L
          USING ERRCODE = 'feature_not_supported', HINT = 'Delete and insert in two statements.';
      END IF;
      INSERT INTO rowcast.channels AS c (stream_id, key, floor)
        SELECT %1$s, d.%2$I::text, max(d.%4$I) + 1 FROM deleted d GROUP BY d.%2$I ORDER BY d.%2$I
        ON CONFLICT (stream_id, key) DO UPDATE SET floor = excluded.floor WHERE excluded.floor > c.floor;
      PERFORM set_config('rowcast.written', '', true);
      $sql$ ELSE $sql$
      DECLARE
        channel rowcast.channels;
        next    record;
      BEGIN
        IF TG_WHEN = 'BEFORE' THEN
          SELECT c.* INTO channel FROM rowcast.channels c WHERE c.stream_id = %1$s AND c.key = OLD.%2$I::text FOR NO KEY UPDATE;
          IF channel.top IS NULL OR channel.top < OLD.%4$I THEN
            INSERT INTO rowcast.channels AS c (stream_id, key, top)
              VALUES (%1$s, OLD.%2$I::text, (SELECT t.%4$I FROM %3$s t WHERE t.%2$I = OLD.%2$I ORDER BY t.%4$I DESC LIMIT 1))
              ON CONFLICT (stream_id, key) DO UPDATE SET top = excluded.top;
            PERFORM set_config('rowcast.written', '', true);
          END IF;
          RETURN OLD;
        END IF;
        SELECT c.* INTO channel FROM rowcast.channels c WHERE c.stream_id = %1$s AND c.key = OLD.%2$I::text;
        IF channel.floor <= OLD.%4$I THEN
          -- Past all gaps among the next thousand events: an update for each gap would be quadratic in one transaction.
          WITH n AS MATERIALIZED (
            SELECT t.%4$I AS seq, t.%4$I - row_number() OVER (ORDER BY t.%4$I) AS run FROM %3$s t
             WHERE t.%2$I = OLD.%2$I AND t.%4$I > OLD.%4$I ORDER BY t.%4$I LIMIT 1000)
          SELECT min(n.seq) FILTER (WHERE n.run = l.run) AS floor, max(n.seq) AS last, count(*) = 1000 AS more INTO next
            FROM n, (SELECT max(n.run) AS run FROM n) l;
          UPDATE rowcast.channels c SET floor = CASE WHEN next.more OR next.last >= c.top THEN next.floor ELSE c.top + 1 END
            WHERE c.stream_id = %1$s AND c.key = OLD.%2$I::text;
        END IF;
      END;$sql$ END, stream.stream_id, stream.key_column, stream.relation, stream.seq_column)));

  PERFORM rowcast.drop_triggers(stream.relation);
  -- zz_: triggers fire in the order of their names, and the number must be given last.
  EXECUTE format('CREATE TRIGGER zz_rowcast_number BEFORE INSERT ON %s
    FOR EACH ROW EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_number');
  EXECUTE format('CREATE TRIGGER zz_rowcast_keep BEFORE UPDATE ON %s FOR EACH ROW
    WHEN (OLD.%2$I <> NEW.%2$I OR OLD.%3$I <> NEW.%3$I OR OLD.%4$I IS DISTINCT FROM NEW.%4$I%5$s)
    EXECUTE FUNCTION rowcast.refuse_renumbering(%6$L)', stream.relation, stream.seq_column, stream.tx_column, stream.key_column,
    -- An event that moved to another partition would be inserted there, and numbered again.
    ' OR OLD.' || quote_ident(range_column) || ' IS DISTINCT FROM NEW.' || quote_ident(range_column),
    format('%I, %I%s', stream.seq_column, stream.tx_column, coalesce(', the key and ' || range_column, ' and the key')));
  IF range_column IS NULL THEN
    EXECUTE format('CREATE TRIGGER zz_rowcast_floor AFTER DELETE ON %s REFERENCING OLD TABLE AS deleted
      FOR EACH STATEMENT EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
  ELSE
    EXECUTE format('CREATE TRIGGER zz_rowcast_delete BEFORE DELETE ON %s
      FOR EACH ROW EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
    EXECUTE format('CREATE TRIGGER zz_rowcast_floor AFTER DELETE ON %s
      FOR EACH ROW EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
  END IF;
  EXECUTE format('CREATE TRIGGER zz_rowcast_truncated AFTER TRUNCATE ON %s
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.%I()', stream.relation, stream.name || '_raise_floor');
  -- A trigger for each row is also one of each partition, and so fires for rows that are written to a partition directly;
  -- one for each statement does not.
  EXECUTE format('CREATE TRIGGER zz_rowcast_ring AFTER INSERT ON %s
    FOR EACH %s EXECUTE FUNCTION rowcast.ring()', stream.relation,
    CASE WHEN range_column IS NULL THEN 'STATEMENT' ELSE 'ROW' END);
END $make$;

-- Makes a function that runs with the rights of its owner that of another role, which alone may call it.
CREATE FUNCTION rowcast.give_function(function regprocedure, owner regrole) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_proc p WHERE p.oid = function AND p.proowner <> owner::oid) THEN
    EXECUTE format('ALTER FUNCTION %s OWNER TO %s', function, owner);
  END IF;
  -- A trigger asks for the right to its function only when it is made: a role that may make a table of any kind could
  -- put these on it, and number the channels of others. The owner needs them for new partitions.
  EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, anon, authenticated, service_role', function);
  EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', function, owner);
END $$;

-- The functions of a stream run with the rights of the owner of its table, and not with those of the role that attached it. They
-- fire policies and triggers that this owner wrote, or read a view that replaces the table: that code must not gain other rights.
CREATE FUNCTION rowcast.hand_over(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  owner regrole := (SELECT c.relowner FROM pg_class c WHERE c.oid = stream.relation);
BEGIN
  IF owner::oid <> (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user) THEN
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA rowcast TO %s', owner);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON rowcast.streams, rowcast.channels, rowcast.retention TO %s', owner);
  END IF;
  PERFORM rowcast.give_function(p.oid, owner) FROM pg_proc p
    WHERE p.pronamespace = 'rowcast'::regnamespace AND p.prosecdef
      AND p.proname IN (stream.name || '_number', stream.name || '_raise_floor', stream.name || '_prune');
  EXECUTE format('GRANT EXECUTE ON FUNCTION rowcast.%I() TO rowcast_gateway', stream.name || '_prune');
END $$;

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
-- `seq` and `tx` name the columns that it adds. Run it again after renaming the table, its key or one of these columns, or
-- after a foreign key of the key came or went: it writes the triggers and functions again and keeps the numbering.
CREATE FUNCTION rowcast.attach(relation regclass, key name, name text DEFAULT NULL, seq name DEFAULT NULL, tx name DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stream   rowcast.streams;
  attached rowcast.streams;
BEGIN
  PERFORM rowcast.check_attachable(relation, key);
  -- The table first, as its writers do, or they and this could wait for each other.
  EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
  SELECT s.* INTO attached FROM rowcast.streams s WHERE s.relation = attach.relation FOR UPDATE;
  stream := attached;
  stream.name := coalesce(attach.name, attached.name, (SELECT lower(c.relname) FROM pg_class c WHERE c.oid = relation));
  stream.relation := relation;
  stream.key_column := key;
  stream.seq_column := coalesce(seq, attached.seq_column, 'seq');
  stream.tx_column := coalesce(tx, attached.tx_column, 'tx');
  IF attached.stream_id IS NOT NULL THEN
    PERFORM rowcast.check_attached(attached, stream);
    UPDATE rowcast.streams s SET (key_column, seq_column, tx_column) = (stream.key_column, stream.seq_column, stream.tx_column)
      WHERE s.stream_id = attached.stream_id RETURNING s.* INTO stream;
  ELSE
    PERFORM rowcast.take_name(stream.name);
    PERFORM rowcast.add_numbers(stream);
    INSERT INTO rowcast.streams AS s (name, relation, key_column, seq_column, tx_column)
      VALUES (stream.name, stream.relation, stream.key_column, stream.seq_column, stream.tx_column) RETURNING s.* INTO stream;
    EXECUTE format('INSERT INTO rowcast.channels (stream_id, key) SELECT DISTINCT %s, %I::text FROM %s',
      stream.stream_id, key, relation);
    RAISE NOTICE 'writers of one channel of % now wait for each other until they commit', stream.name
      USING DETAIL = 'What attach costs your writers: docs/operations/writers.md';
    -- Before these updates of attach itself are counted.
    IF (SELECT sum(pg_stat_get_tuples_updated(c.oid)) FROM rowcast.storage_of(relation) c) > 0 THEN
      RAISE NOTICE 'rows of % have been updated, and an UPDATE of an attached table is no event', relation
        USING HINT = format('To make changes events: SELECT rowcast.detach(%L); SELECT rowcast.track(%L, key => %L);',
          stream.name, relation, key);
    END IF;
  END IF;
  PERFORM rowcast.make_triggers(stream);
  PERFORM rowcast.make_pruning(stream);
  PERFORM rowcast.hand_over(stream);
  PERFORM rowcast.make_access(stream);
  RETURN stream.name;
END $$;

-- Undoes attach: the table and its rows stay.
CREATE FUNCTION rowcast.detach(stream text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
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
  IF EXISTS (SELECT FROM rowcast.tracks t WHERE t.stream_id = target.stream_id) THEN
    RAISE EXCEPTION 'the stream % has the changes of a tracked table', stream USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = format('SELECT rowcast.untrack(%L);', stream);
  END IF;
  is_there := EXISTS (SELECT FROM pg_class c WHERE c.oid = target.relation); -- else it was dropped
  IF is_there THEN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', target.relation);
    parent := (SELECT p.relation FROM rowcast.parent_of(target) p);
  END IF;
  DELETE FROM rowcast.streams s WHERE s.stream_id = target.stream_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the stream % belongs to another role', quote_literal(stream) USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM rowcast.drop_triggers(target.relation);
  EXECUTE format('DROP FUNCTION IF EXISTS rowcast.%I(), rowcast.%I(), rowcast.%I(), rowcast.%I(text), rowcast.%I(text, bigint, bigint)',
    stream || '_number', stream || '_raise_floor', stream || '_prune', stream || '_newest', stream || '_can_read');
  IF is_there THEN
    EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS %I, DROP COLUMN IF EXISTS %I', target.relation, target.seq_column, target.tx_column);
    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = target.relation AND c.relreplident = 'i')
      AND NOT rowcast.has_identity(target.relation)
    THEN
      EXECUTE format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', target.relation);
    END IF;
    PERFORM rowcast.close_to_gateway(target.relation), rowcast.close_to_gateway(parent);
  END IF;
END $$;
