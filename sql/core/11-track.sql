-- track: makes the changes of a table that is updated in place the events of a stream.
--
-- The tracked table gets triggers and nothing else. A trigger for each row stages its change in rowcast.changes. At COMMIT the
-- transaction locks its channels in the order of their keys, numbers its changes in one statement for each stream, and
-- inserts them into a table of Rowcast's own with the columns that every stream has, so that the tail, pages, access and
-- retention serve it like any other. Until COMMIT a transaction holds no channel and waits for none.
--
-- The deferred trigger is on a table of Rowcast: a tracked table with pending trigger events could not be altered or truncated
-- in the transaction that has changed it, as migrations do.

CREATE SCHEMA rowcast_streams;
COMMENT ON SCHEMA rowcast_streams IS 'the events of tracked tables (rowcast.track)';
GRANT USAGE ON SCHEMA rowcast_streams TO rowcast_gateway;

-- The changes of transactions that have not committed yet. Unlogged: none of them outlives its transaction.
CREATE UNLOGGED TABLE rowcast.changes (
  tx        xid8 NOT NULL,
  nth       bigint GENERATED ALWAYS AS IDENTITY (CACHE 100),
  stream_id int NOT NULL,
  key       text NOT NULL,
  op        text NOT NULL,
  id        text NOT NULL,
  "row"     json,
  old       json
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_analyze_scale_factor = 100);
CREATE INDEX ON rowcast.changes (tx, nth);
-- The owner of a tracked table stages the changes of its own streams, and numbers them with its own transaction.
ALTER TABLE rowcast.changes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rowcast.changes FOR INSERT WITH CHECK (tx = pg_current_xact_id()
  AND EXISTS (SELECT FROM rowcast.tracks t WHERE t.stream_id = changes.stream_id AND rowcast.owns(t.relation)));

-- Writes rowcast.number_changes: the function that numbers the changes of a transaction at COMMIT. It runs for each of them in
-- turn, and the last one does it for all: what deferred triggers of the application write in the meantime is staged as well,
-- and comes later in the same queue. Most transactions have one change: its two statements are written out, with the streams in
-- them, because one that is made anew each time would double the price of the change of a row.
CREATE FUNCTION rowcast.make_numbering() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $make$
DECLARE
  streams text := (
    SELECT string_agg(format($sql$
          WHEN %1$s THEN
            INSERT INTO %2$s (key, seq, tx, op, event_type, id, "row", old) VALUES (NEW.key::%3$s, greatest(gone,
              (SELECT e.seq FROM %2$s e WHERE e.key = NEW.key::%3$s ORDER BY e.seq DESC LIMIT 1)) + 1,
              NEW.tx, NEW.op, NEW.op, NEW.id, NEW."row", NEW.old);$sql$,
      s.stream_id, s.relation, a.atttypid::regtype), '')
      FROM rowcast.tracks t JOIN rowcast.streams s USING (stream_id) JOIN pg_attribute a ON a.attrelid = s.relation AND a.attname = 'key');
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.number_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off AS %L', format($sql$
    DECLARE
      alone  boolean;
      gone   bigint; -- the highest number of an event that is no more
      stream int;
    BEGIN
      -- Most changes of many are neither the only one nor the last. No savepoint takes back what currval returns, so the last
      -- change that is left may be another than the last one that was staged.
      IF currval('rowcast.changes_nth_seq') = NEW.nth THEN
        -- The only change of the transaction leaves the stage, and its channel is locked.
        DELETE FROM rowcast.changes c
          WHERE c.tx = NEW.tx AND c.nth = NEW.nth AND current_setting('transaction_isolation') = 'read committed'
            AND NOT EXISTS (SELECT FROM rowcast.changes o WHERE o.tx = NEW.tx AND o.nth <> NEW.nth)
          RETURNING (SELECT k.floor - 1 FROM rowcast.channels k WHERE k.stream_id = c.stream_id AND k.key = c.key FOR NO KEY UPDATE) INTO gone;
        alone := FOUND;
      END IF;
      IF alone THEN
        IF gone IS NULL THEN
          INSERT INTO rowcast.channels AS k (stream_id, key) VALUES (NEW.stream_id, NEW.key)
            ON CONFLICT (stream_id, key) DO UPDATE SET floor = k.floor RETURNING k.floor - 1 INTO gone;
        END IF;
        -- The snapshot of this statement is taken after the lock was granted.
        CASE NEW.stream_id%s
        END CASE;
      ELSE
        -- A later one numbers all; or one has, for a trigger that ran in between.
        IF (SELECT c.nth FROM rowcast.changes c WHERE c.tx = NEW.tx ORDER BY c.nth DESC LIMIT 1) IS DISTINCT FROM NEW.nth THEN
          RETURN NULL;
        END IF;
        -- Every channel before the first number, in one order, or two transactions could wait for each other. The snapshot
        -- of REPEATABLE READ and SERIALIZABLE may be older than the last writer of a channel: the update makes PostgreSQL
        -- say so (40001).
        INSERT INTO rowcast.channels AS c (stream_id, key, written_by)
          SELECT s.stream_id, s.key, NEW.tx FROM (SELECT DISTINCT c.stream_id, c.key FROM rowcast.changes c WHERE c.tx = NEW.tx) s
            ORDER BY s.stream_id, s.key COLLATE "C"
          ON CONFLICT (stream_id, key) DO UPDATE SET written_by = excluded.written_by
            WHERE current_setting('transaction_isolation') <> 'read committed';
        FOR stream IN SELECT DISTINCT c.stream_id FROM rowcast.changes c WHERE c.tx = NEW.tx LOOP
          EXECUTE format('SELECT rowcast.write_changes_%%s($1)', stream) USING NEW.tx;
        END LOOP;
        DELETE FROM rowcast.changes c WHERE c.tx = NEW.tx;
      END IF;
      -- As rowcast.ring does, without a trigger of its own on each stream.
      IF pg_try_advisory_lock_shared(1919907683, 1) AND pg_advisory_unlock_shared(1919907683, 1) THEN
        PERFORM pg_notify('rowcast', '');
      END IF;
      RETURN NULL;
    END $sql$, coalesce(streams, ' WHEN 0 THEN NULL;')));
END $make$;
SELECT rowcast.make_numbering();

CREATE CONSTRAINT TRIGGER number_changes AFTER INSERT ON rowcast.changes
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rowcast.number_changes();

-- The names of columns, in the order of their numbers given.
CREATE FUNCTION rowcast.column_names(relation regclass, numbers int2[]) RETURNS name[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(a.attname ORDER BY n.nth) FROM unnest(numbers) WITH ORDINALITY n(attnum, nth)
    JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = n.attnum AND NOT a.attisdropped
$$;

-- What the triggers of a track depend on: the columns of the table, and the partitions that have its rows.
CREATE FUNCTION rowcast.shape_of(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT md5(concat_ws(' ',
    (SELECT string_agg(format('%s %I %s %s', a.attnum, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)
       FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT string_agg(c.oid::text, ',' ORDER BY c.oid) FROM rowcast.storage_of(relation) c)))
$$;

-- The settings under which PostgreSQL writes the values of a table as text. Those of the writer must not change what readers
-- get. Each costs every change some time, so they are set only where a type needs them.
CREATE FUNCTION rowcast.text_settings(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE max(CASE
      WHEN t.typtype = 'e' OR t.typname IN ('bool', 'int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'bpchar', 'uuid', 'json', 'jsonb',
        'name', 'date', 'time', 'timestamp') THEN 0
      WHEN t.typname = 'timestamptz' THEN 1 ELSE 2 END)
    WHEN 0 THEN ''
    WHEN 1 THEN 'SET timezone = ''UTC'''
    ELSE 'SET timezone = ''UTC'' SET datestyle = ''ISO, MDY'' SET intervalstyle = ''postgres'' SET bytea_output = ''hex''
      SET extra_float_digits = 1 SET xmlbinary = ''base64'' SET lc_monetary = ''C''' END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
$$;


-- In SQL: the old values of the columns in which OLD and NEW differ, as JSON, for a row that has kept its key and identity. Types
-- without an equality are compared as text.
CREATE FUNCTION rowcast.changed_columns(track rowcast.tracks) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($sql$'{' || concat_ws(',', %s) || '}'$sql$, coalesce(string_agg(format(
      CASE WHEN EXISTS (SELECT FROM pg_operator o WHERE o.oprname = '=' AND o.oprleft = a.atttypid AND o.oprright = a.atttypid
          AND o.oprnamespace = 'pg_catalog'::regnamespace)
        THEN 'CASE WHEN OLD.%1$I IS DISTINCT FROM NEW.%1$I THEN %2$L || coalesce(to_json(OLD.%1$I)::text, ''null'') END'
        ELSE 'CASE WHEN to_json(OLD.%1$I)::text IS DISTINCT FROM to_json(NEW.%1$I)::text THEN %2$L || coalesce(to_json(OLD.%1$I)::text, ''null'') END' END,
      a.attname, to_json(a.attname) || ':'), ', ' ORDER BY a.attnum), 'NULL'))
    FROM pg_attribute a WHERE a.attrelid = track.relation AND a.attnum > 0 AND NOT a.attisdropped
     AND (track.columns IS NULL OR a.attnum = ANY (track.columns)) AND a.attnum IS DISTINCT FROM track.key AND a.attnum <> ALL (track.identity)
$$;

-- Writes the functions of a track for its table as it is now.
CREATE FUNCTION rowcast.make_track(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $make$
DECLARE
  track    rowcast.tracks := (SELECT t FROM rowcast.tracks t WHERE t.stream_id = stream.stream_id);
  owner    regrole := (SELECT c.relowner FROM pg_class c WHERE c.oid = track.relation);
  key      name := (rowcast.column_names(track.relation, ARRAY[track.key]))[1];
  key_type regtype := (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = stream.relation AND a.attname = 'key');
  identity name[] := rowcast.column_names(track.relation, track.identity);
  columns  name[] := rowcast.column_names(track.relation, track.columns);
  -- In SQL, of the row %1$s: the key of its channel, its identity, and what readers get.
  key_of   text := CASE WHEN track.key IS NULL THEN '''all''' ELSE format('%%1$s.%I', key) END;
  id_of    text := CASE cardinality(identity) WHEN 1 THEN format('%%1$s.%I', identity[1])
    ELSE format('json_build_array(%s)', (SELECT string_agg(format('%%1$s.%I::text', i.i), ', ' ORDER BY i.nth)
      FROM unnest(identity) WITH ORDINALITY i(i, nth))) END;
  -- No reader can name the channel of a longer key.
  longest  int := CASE WHEN key_type IN ('text'::regtype, 'varchar'::regtype) AND track.key IS NOT NULL THEN rowcast.longest_key(stream.name) END;
  -- Whether OLD and NEW have the same key and identity. Equal values of other types may differ in their text.
  same     text := (SELECT string_agg(format(CASE WHEN a.atttypid IN ('smallint'::regtype, 'int'::regtype, 'bigint'::regtype, 'uuid'::regtype)
      THEN 'OLD.%1$I = NEW.%1$I' ELSE 'OLD.%1$I::text = NEW.%1$I::text' END, a.attname), ' AND ')
    FROM pg_attribute a WHERE a.attrelid = track.relation AND a.attnum = ANY (track.key || track.identity));
  there    text := 'CASE WHEN TG_OP <> %L THEN (%s)::text END';
  row_of   text := CASE WHEN columns IS NULL THEN 'row_to_json(%1$s)' ELSE format(
    '(SELECT json_object_agg(e.key, e.value) FROM json_each(row_to_json(%%1$s)) e WHERE e.key = ANY (%L::text[]))', columns) END;
BEGIN
  IF key IS NULL AND track.key IS NOT NULL OR cardinality(identity) IS DISTINCT FROM cardinality(track.identity) THEN
    RAISE EXCEPTION 'the key or the identity of the stream % was dropped', stream.name USING ERRCODE = 'undefined_column',
      HINT = format('SELECT rowcast.untrack(%L);', stream.name);
  END IF;
  -- SECURITY DEFINER: what the writer may see must not change an event.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp %s AS %L', stream.name || '_change',
    rowcast.text_settings(track.relation), format($sql$
    DECLARE
      was     text[]; -- the channel and the identity of the old row, and of the new one; null if they are the same
      changed text;   -- old values
    BEGIN
      -- A block that writes nothing costs no transaction number. PL/pgSQL sets up each expression anew in each transaction, so
      -- the usual change has few of them.
      BEGIN
        IF TG_OP = 'UPDATE' AND %6$s THEN
          %9$s
        ELSE
          was := ARRAY[%2$s, %3$s, %4$s, %5$s];
        END IF;
      EXCEPTION WHEN undefined_column OR datatype_mismatch THEN
        -- A column was renamed, or changed its type.
        PERFORM rowcast.renew_track(%1$s);
        was := ARRAY[(rowcast.identify(%1$s, row_to_json(OLD))).key, (rowcast.identify(%1$s, row_to_json(OLD))).id,
          (rowcast.identify(%1$s, row_to_json(NEW))).key, (rowcast.identify(%1$s, row_to_json(NEW))).id];
      END;
      IF was IS NULL THEN
        IF NOT %7$s THEN
          INSERT INTO rowcast.changes (tx, stream_id, key, op, id, "row", old)
            VALUES (pg_current_xact_id(), %1$s, %11$s, 'update', %12$s, %8$s, changed::json);
        END IF;
        RETURN NULL;
      END IF;%13$s
      IF was[1] = was[3] AND was[2] = was[4] THEN
        IF NOT %7$s THEN
          INSERT INTO rowcast.changes (tx, stream_id, key, op, id, "row")
            VALUES (pg_current_xact_id(), %1$s, was[3], 'update', was[4], %8$s);
        END IF;
        RETURN NULL;
      END IF;
      IF was[1] IS NOT NULL THEN
        INSERT INTO rowcast.changes (tx, stream_id, key, op, id, old)
          VALUES (pg_current_xact_id(), %1$s, was[1], 'delete', was[2], %10$s);
      END IF;
      IF was[3] IS NOT NULL THEN
        INSERT INTO rowcast.changes (tx, stream_id, key, op, id, "row")
          VALUES (pg_current_xact_id(), %1$s, was[3], 'insert', was[4], %8$s);
      END IF;
      RETURN NULL;
    END $sql$, track.stream_id, format(there, 'INSERT', format(key_of, 'OLD')), format(there, 'INSERT', format(id_of, 'OLD')),
      format(there, 'DELETE', format(key_of, 'NEW')), format(there, 'DELETE', format(id_of, 'NEW')),
      same || CASE WHEN longest IS NULL THEN '' ELSE format(' AND length(NEW.%I) BETWEEN 1 AND %s', key, longest) END,
      -- Compares the bytes: not every type has an equality, and equal values may differ in their text.
      CASE WHEN columns IS NULL THEN '(OLD *= NEW)' ELSE format('(%s::text = %s::text)', format(row_of, 'OLD'), format(row_of, 'NEW')) END,
      format(row_of, 'NEW'),
      CASE track.old WHEN 'none' THEN 'NULL;' WHEN 'all' THEN format('changed := %s;', format(row_of, 'OLD'))
        ELSE format('changed := %s;', rowcast.changed_columns(track)) END,
      CASE track.old WHEN 'none' THEN 'NULL' ELSE format(row_of, 'OLD') END,
      format('(%s)::text', format(key_of, 'NEW')), format('(%s)::text', format(id_of, 'NEW')),
      CASE WHEN longest IS NOT NULL THEN format($sql$
      IF length(was[1]) NOT BETWEEN 1 AND %1$s THEN was[1] := NULL; END IF;
      IF length(was[3]) NOT BETWEEN 1 AND %1$s THEN was[3] := NULL; END IF;$sql$, longest) END));

  -- Without joins: a plan of a few rows would take very long for many.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I(xid8) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L', 'write_changes_' || track.stream_id, format($sql$
    BEGIN
      INSERT INTO %3$s (key, seq, tx, op, event_type, id, "row", old)
        SELECT n.key::%2$s, max(n.last) OVER (PARTITION BY n.key COLLATE "C") + n.nth_of_key, n.tx, n.op, n.op, n.id, n."row", n.old
          FROM (
            SELECT *, CASE nth_of_key WHEN 1 THEN greatest(
                (SELECT max(e.seq) FROM %3$s e WHERE e.key = s.key::%2$s),
                (SELECT c.floor - 1 FROM rowcast.channels c WHERE c.stream_id = %1$s AND c.key = s.key)) END AS last
              FROM (
                SELECT c.*, row_number() OVER (PARTITION BY c.key COLLATE "C" ORDER BY c.nth) AS nth_of_key
                  FROM rowcast.changes c WHERE c.tx = $1 AND c.stream_id = %1$s) s) n;
    END $sql$, track.stream_id, key_type, stream.relation));

  -- One page of the rows of a channel, in the order of their identity. STABLE: it sees what the calling statement sees.
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I(channel_key text, after text, most int) RETURNS TABLE (id text, "row" json)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET row_security = off %s AS %L', stream.name || '_rows',
    rowcast.text_settings(track.relation), format($sql$
    BEGIN
      IF after IS NULL THEN
        RETURN QUERY SELECT %2$s::text, %3$s FROM (SELECT * FROM %1$s t WHERE %4$s ORDER BY %5$s LIMIT most) t;
      ELSE
        RETURN QUERY SELECT %2$s::text, %3$s FROM (SELECT * FROM %1$s t WHERE %4$s AND (%5$s) > (%6$s) ORDER BY %5$s LIMIT most) t;
      END IF;
    END $sql$, track.relation, format(id_of, 't'), format(row_of, 't'),
      CASE WHEN track.key IS NULL THEN 'channel_key = ''all''' ELSE format('t.%I = channel_key::%s', key, key_type) END,
      (SELECT string_agg(format('t.%I', i.i), ', ' ORDER BY i.nth) FROM unnest(identity) WITH ORDINALITY i(i, nth)),
      (SELECT string_agg(CASE WHEN cardinality(identity) = 1 THEN format('after::%s', format_type(a.atttypid, a.atttypmod))
          ELSE format('(after::json ->> %s)::%s', i.nth - 1, format_type(a.atttypid, a.atttypmod)) END, ', ' ORDER BY i.nth)
         FROM unnest(track.identity) WITH ORDINALITY i(attnum, nth)
         JOIN pg_attribute a ON a.attrelid = track.relation AND a.attnum = i.attnum)));
  -- As in rowcast.hand_over: what the owner of the tracked table has put in their way, such as a cast to json or a view in the
  -- place of the table, runs with its own rights. The events belong to the role that tracks.
  IF owner::oid <> (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user) THEN
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA rowcast TO %s', owner);
    EXECUTE format('GRANT INSERT ON rowcast.changes TO %s', owner);
    EXECUTE format('GRANT EXECUTE ON FUNCTION rowcast.renew_track TO %s', owner);
  END IF;
  PERFORM rowcast.give_function(format('rowcast.%I()', stream.name || '_change')::regprocedure, owner),
    rowcast.give_function(format('rowcast.%I(text, text, int)', stream.name || '_rows')::regprocedure, owner);
  EXECUTE format('GRANT EXECUTE ON FUNCTION rowcast.%I(text, text, int) TO rowcast_gateway', stream.name || '_rows');
  EXECUTE format('REVOKE EXECUTE ON FUNCTION rowcast.%I(xid8) FROM PUBLIC, anon, authenticated, service_role', 'write_changes_' || track.stream_id);
  PERFORM rowcast.make_access(stream);
END $make$;
