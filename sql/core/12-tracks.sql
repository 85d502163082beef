-- track and untrack, what keeps a track in step with its table, and the snapshot that its events continue: rows and position.

-- Begins a new epoch in the streams of a table whose rows have changed in a way that no trigger for each row sees.
CREATE FUNCTION rowcast.track_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  track rowcast.tracks;
BEGIN
  FOR track IN SELECT t.* FROM rowcast.tracks t WHERE t.relation IN (TG_RELID, pg_partition_root(TG_RELID)) LOOP
    DELETE FROM rowcast.changes c WHERE c.tx = pg_current_xact_id() AND c.stream_id = track.stream_id;
    PERFORM rowcast.new_epoch(s.name) FROM rowcast.streams s WHERE s.stream_id = track.stream_id;
  END LOOP;
  RETURN NULL;
END $$;

-- The triggers of a track. That for each row is also one of every partition, also of new ones; that for TRUNCATE is not.
CREATE FUNCTION rowcast.make_track_triggers(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source regclass := (SELECT t.relation FROM rowcast.tracks t WHERE t.stream_id = stream.stream_id);
  part   regclass;
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION rowcast.%I()',
    'rowcast_' || stream.name, source, stream.name || '_change');
  FOR part IN SELECT source UNION SELECT c.oid FROM rowcast.storage_of(source) c LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER rowcast_truncated AFTER TRUNCATE ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION rowcast.track_truncated()', part);
  END LOOP;
END $$;

-- Writes a track again if the columns or partitions of its table have changed, and begins a new epoch: what readers have
-- of the table may not be what it has now.
CREATE FUNCTION rowcast.renew_track(id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
  track  rowcast.tracks;
  stream rowcast.streams := (SELECT s FROM rowcast.streams s WHERE s.stream_id = id);
BEGIN
  SELECT t.* INTO track FROM rowcast.tracks t WHERE t.stream_id = id FOR UPDATE;
  IF track.shape IS DISTINCT FROM rowcast.shape_of(track.relation) THEN
    PERFORM rowcast.make_track(stream), rowcast.make_track_triggers(stream);
    UPDATE rowcast.tracks t SET shape = rowcast.shape_of(t.relation) WHERE t.stream_id = id;
    PERFORM rowcast.new_epoch(stream.name);
  END IF;
END $$;

-- Does so for all tracks; gateways call it from time to time. Returns how many could not be written: `rowcast doctor` says why.
CREATE FUNCTION rowcast.renew_tracks() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
AS $$
DECLARE
  track  rowcast.tracks;
  failed int := 0;
BEGIN
  FOR track IN SELECT t.* FROM rowcast.tracks t JOIN pg_class c ON c.oid = t.relation WHERE t.shape <> rowcast.shape_of(t.relation) LOOP
    BEGIN
      PERFORM rowcast.renew_track(track.stream_id);
    EXCEPTION WHEN OTHERS THEN
      failed := failed + 1;
    END;
  END LOOP;
  RETURN failed;
END $$;

-- Channel and identity of a row, for the change that finds a column renamed.
CREATE FUNCTION rowcast.identify(id_of_stream int, "row" json, OUT key text, OUT id text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN t.key IS NULL THEN 'all' ELSE "row" ->> (rowcast.column_names(t.relation, ARRAY[t.key]))[1]::text END,
    CASE cardinality(t.identity) WHEN 1 THEN "row" ->> (rowcast.column_names(t.relation, t.identity))[1]::text
      ELSE (SELECT json_agg("row" ->> n::text ORDER BY nth) FROM unnest(rowcast.column_names(t.relation, t.identity)) WITH ORDINALITY u(n, nth))::text END
    FROM rowcast.tracks t WHERE t.stream_id = id_of_stream AND "row" IS NOT NULL
$$;

-- The numbers of columns that are there by these names.
CREATE FUNCTION rowcast.column_numbers(relation regclass, names name[]) RETURNS int2[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing name;
BEGIN
  SELECT n INTO missing FROM unnest(names) n WHERE n IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = n AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '% has no column %', relation, quote_ident(missing) USING ERRCODE = 'undefined_column';
  END IF;
  RETURN (SELECT array_agg(a.attnum ORDER BY n.nth) FROM unnest(names) WITH ORDINALITY n(n, nth)
    JOIN pg_attribute a ON a.attrelid = relation AND a.attname = n.n);
END $$;

-- Says why a table cannot be tracked so, before anything is changed.
CREATE FUNCTION rowcast.check_trackable(track rowcast.tracks, guarded boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation regclass := track.relation;
  tab      pg_class := (SELECT c FROM pg_class c WHERE c.oid = track.relation);
  wrong    record;
BEGIN
  IF tab.relkind NOT IN ('r', 'p') OR tab.relpersistence = 't' THEN
    RAISE EXCEPTION '% is not an ordinary table', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Track the tables that its rows come from.';
  END IF;
  IF EXISTS (SELECT FROM rowcast.streams s WHERE s.relation = track.relation) OR rowcast.is_own(relation) THEN
    RAISE EXCEPTION '% is attached: its rows are events already', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'An attached table is append-only. Detach it first, if its rows are to be updated.';
  END IF;
  SELECT c.oid::regclass AS relation INTO wrong FROM rowcast.storage_of(relation) c WHERE c.relpersistence = 'u' LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '% is unlogged: a crash would empty it, and no reader would be told', wrong.relation
      USING ERRCODE = 'wrong_object_type', HINT = format('ALTER TABLE %s SET LOGGED;', wrong.relation);
  END IF;
  IF tab.relispartition THEN
    RAISE EXCEPTION '% is a partition', relation USING ERRCODE = 'wrong_object_type',
      HINT = format('Track the partitioned table: SELECT rowcast.track(%L, …);', pg_partition_root(relation));
  END IF;
  IF tab.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = relation) THEN
    RAISE EXCEPTION '% has child tables (INHERITS), whose changes no trigger of it sees', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Track a table without children, or a partitioned table.';
  END IF;
  IF tab.relforcerowsecurity THEN
    RAISE EXCEPTION '% forces row-level security on its owner, who then cannot read all rows of a channel', relation
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', relation);
  END IF;
  SELECT a.attname AS name, a.atttypid::regtype AS type INTO wrong
    FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
   WHERE a.attrelid = relation AND a.attnum = track.key AND (NOT coalesce(l.collisdeterministic, true) OR a.atttypid NOT IN (
     'uuid'::regtype, 'text'::regtype, 'varchar'::regtype, 'smallint'::regtype, 'int'::regtype, 'bigint'::regtype));
  IF FOUND THEN
    RAISE EXCEPTION 'column % of % cannot be a key: its type is %', quote_ident(wrong.name), relation, wrong.type
      USING ERRCODE = 'datatype_mismatch',
      HINT = 'A key is a uuid, text, varchar, smallint, integer or bigint, with a deterministic collation.';
  END IF;
  IF track.identity IS NULL THEN
    RAISE EXCEPTION '% has no primary key, so readers could not tell its rows apart', relation USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'Add one, or name the columns of a unique index: identity => ARRAY[''…''].';
  ELSIF NOT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND ARRAY(SELECT unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) ORDER BY 1) = ARRAY(SELECT unnest(track.identity) ORDER BY 1))
    OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = ANY (track.identity) AND NOT a.attnotnull)
  THEN
    RAISE EXCEPTION 'the identity (%) of % is not unique and NOT NULL', array_to_string(rowcast.column_names(relation, track.identity), ', '), relation
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Name exactly the columns of a unique index, all of them NOT NULL.';
  END IF;
  SELECT a.attname AS name INTO wrong FROM pg_attribute a WHERE a.attrelid = relation AND a.attgenerated = 'v'
    AND (track.columns IS NULL OR a.attnum = ANY (track.columns)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'triggers do not see the virtual column % of %', quote_ident(wrong.name), relation USING ERRCODE = 'feature_not_supported',
      HINT = 'Leave it out: columns => ARRAY[…]. Or make it STORED.';
  END IF;
  -- A right to read some columns only.
  SELECT r.rolname AS role, a.attname AS name INTO wrong FROM pg_roles r CROSS JOIN pg_attribute a
   WHERE pg_has_role('rowcast_gateway', r.oid, 'MEMBER') AND r.rolname <> 'rowcast_gateway' AND NOT r.rolsuper
     AND a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND (track.columns IS NULL OR a.attnum = ANY (track.columns))
     AND has_any_column_privilege(r.oid, relation, 'SELECT') AND NOT has_column_privilege(r.oid, relation, a.attnum, 'SELECT') LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '% may not select column % of %, but would get it in events', quote_ident(wrong.role), quote_ident(wrong.name), relation
      USING ERRCODE = 'insufficient_privilege', HINT = 'Name the columns that all readers may select: columns => ARRAY[…].';
  END IF;
  -- Rights are per channel.
  IF tab.relrowsecurity AND NOT guarded AND NOT EXISTS (
      SELECT FROM pg_constraint f WHERE f.conrelid = relation AND f.contype = 'f' AND f.conkey = ARRAY[track.key])
  THEN
    SELECT p.polname AS name INTO wrong FROM pg_policy p
     WHERE p.polrelid = relation AND p.polcmd IN ('r', '*') AND (track.key IS NULL OR EXISTS (
       SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass
         AND d.refobjid = relation AND d.refobjsubid NOT IN (0, track.key)));
    IF FOUND THEN
      RAISE EXCEPTION 'the policy % of % decides by more than the key, and rights are per channel', quote_ident(wrong.name), relation
        USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'Give the key a foreign key to the table that decides, name a guard (guard => …), or track by another key.';
    END IF;
  END IF;
END $$;

-- Makes the changes of a table the events of a stream: of the channel `<name>:<key>`, or of `<name>:all` without a key. Run it
-- again to change what it delivers.
CREATE FUNCTION rowcast.track(
  relation regclass, key name DEFAULT NULL, name text DEFAULT NULL, columns name[] DEFAULT NULL, old text DEFAULT 'changed',
  keep interval DEFAULT '1 day', identity name[] DEFAULT NULL, guard regproc DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
  wanted   text := coalesce(track.name, (SELECT lower(c.relname) FROM pg_class c WHERE c.oid = track.relation));
  events   text := format('rowcast_streams.%I', wanted);
  stream   rowcast.streams;
  present  rowcast.tracks;
  new      rowcast.tracks;
  key_type regtype;
BEGIN
  SELECT s.* INTO stream FROM rowcast.streams s WHERE s.name = wanted;
  SELECT t.* INTO present FROM rowcast.tracks t WHERE t.stream_id = stream.stream_id;
  IF present.relation IS DISTINCT FROM track.relation THEN
    PERFORM rowcast.take_name(wanted);
    stream := NULL;
    present := NULL;
  END IF;
  IF old NOT IN ('changed', 'all', 'none') THEN
    RAISE EXCEPTION 'old is changed, all or none, and not %', quote_literal(old) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  new.relation := track.relation;
  new.key := (rowcast.column_numbers(track.relation, ARRAY[track.key]))[1];
  new.columns := rowcast.column_numbers(track.relation, track.columns);
  new.old := track.old;
  new.identity := CASE WHEN track.identity IS NULL THEN
      (SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] FROM pg_index i WHERE i.indrelid = track.relation AND i.indisprimary)
    ELSE rowcast.column_numbers(track.relation, track.identity) END;
  PERFORM rowcast.check_trackable(new, track.guard IS NOT NULL OR stream.guard IS NOT NULL);
  IF present.stream_id IS NOT NULL AND (present.key, present.identity) IS DISTINCT FROM (new.key, new.identity) THEN
    RAISE EXCEPTION 'the stream % has another key or identity, and its events are numbered by that', wanted
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = format('SELECT rowcast.untrack(%L);', wanted);
  END IF;
  -- The table first, as its writers do.
  EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', track.relation);
  new.shape := rowcast.shape_of(track.relation);
  IF stream.stream_id IS NULL THEN
    key_type := (SELECT CASE WHEN a.atttypid IN ('smallint'::regtype, 'int'::regtype) THEN 'bigint' ELSE a.atttypid::regtype END
      FROM pg_attribute a WHERE a.attrelid = track.relation AND a.attnum = new.key);
    -- `json`, which keeps what a json column holds; jsonb refuses some of it.
    EXECUTE format('CREATE TABLE %s (key %s NOT NULL, op text NOT NULL, event_type text NOT NULL,
      id text NOT NULL, "row" json, old json, created_at timestamptz NOT NULL DEFAULT clock_timestamp())', events, coalesce(key_type, 'text'));
    PERFORM rowcast.attach(events::regclass, 'key', wanted);
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY USING INDEX %I', events, (SELECT c.relname FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = events::regclass AND i.indisunique));
    SELECT s.* INTO stream FROM rowcast.streams s WHERE s.name = wanted;
    new.stream_id := stream.stream_id;
    INSERT INTO rowcast.tracks SELECT new.*;
  ELSE
    UPDATE rowcast.tracks t SET columns = new.columns, old = new.old, shape = new.shape WHERE t.stream_id = stream.stream_id;
    PERFORM rowcast.attach(events::regclass, 'key', wanted), rowcast.new_epoch(wanted);
  END IF;
  -- rowcast.number_changes does what these do.
  EXECUTE format('DROP TRIGGER zz_rowcast_number ON %1$s; DROP TRIGGER zz_rowcast_ring ON %1$s', events);
  PERFORM rowcast.make_track(stream), rowcast.make_numbering(), rowcast.make_track_triggers(stream);
  PERFORM rowcast.retain(wanted, track.keep);
  IF track.guard IS NOT NULL THEN
    PERFORM rowcast.guard(wanted, track.guard);
  END IF;
  RETURN wanted;
END $$;

-- Undoes track: takes away its triggers and its events. The table stays as it is.
CREATE FUNCTION rowcast.untrack(stream text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target rowcast.streams;
  source regclass;
  part   regclass;
BEGIN
  SELECT s.* INTO target FROM rowcast.streams s JOIN rowcast.tracks t USING (stream_id) WHERE s.name = stream;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% is not the stream of a tracked table', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  source := (SELECT c.oid FROM rowcast.tracks t JOIN pg_class c ON c.oid = t.relation WHERE t.stream_id = target.stream_id);
  IF source IS NOT NULL THEN -- else it was dropped
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', source);
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 'rowcast_' || stream, source);
  END IF;
  DELETE FROM rowcast.changes c WHERE c.tx = pg_current_xact_id() AND c.stream_id = target.stream_id;
  DELETE FROM rowcast.tracks t WHERE t.stream_id = target.stream_id;
  FOR part IN SELECT source UNION SELECT c.oid FROM rowcast.storage_of(source) c LOOP
    CONTINUE WHEN part IS NULL OR EXISTS (SELECT FROM rowcast.tracks t WHERE t.relation = source);
    EXECUTE format('DROP TRIGGER IF EXISTS rowcast_truncated ON %s', part);
  END LOOP;
  PERFORM rowcast.make_numbering(), rowcast.detach(stream);
  EXECUTE format('DROP TABLE IF EXISTS rowcast_streams.%I', stream);
  EXECUTE format('DROP FUNCTION rowcast.%I(), rowcast.%I(xid8), rowcast.%I(text, text, int)',
    stream || '_change', 'write_changes_' || target.stream_id, stream || '_rows');
END $$;

-- Where the numbering of a channel stands in the snapshot of the calling statement: what a SELECT in the same statement, or
-- in the same transaction of REPEATABLE READ, does not see has a higher seq. Null for those that may not read the channel.
CREATE FUNCTION rowcast.position(channel text) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN CASE WHEN rowcast.can_read(channel) THEN rowcast.head_of(channel) END;
END $$;

-- It tells how many events a channel has had, to the gateway, to services, and to roles with a right to what decides who reads
-- the stream: the table, or the guard. Which of its channels a policy shows to the role that calls cannot be asked here, since this
-- runs as its owner: rowcast.position asks that.
CREATE FUNCTION rowcast.head_of(channel text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = off SET enable_seqscan = off
AS $$
DECLARE
  caller name := coalesce(nullif(current_setting('role'), 'none'), session_user);
  stream rowcast.streams;
  source rowcast.streams;
  judge  regclass;
  key    text := substr(channel, strpos(channel, ':') + 1);
  head   bigint;
BEGIN
  SELECT s.* INTO stream FROM rowcast.streams s WHERE s.name = split_part(channel, ':', 1);
  IF NOT FOUND OR key = '' THEN
    RAISE EXCEPTION 'there is no stream for %', quote_literal(channel) USING ERRCODE = 'undefined_object',
      HINT = 'Write <stream>:<key>, for example message:lobby.';
  END IF;
  IF NOT pg_has_role(caller, 'rowcast_gateway', 'USAGE') AND NOT pg_has_role(caller, 'service_role', 'USAGE') THEN
    source := rowcast.source_of(stream);
    judge := coalesce(CASE WHEN source = stream THEN (SELECT p.relation FROM rowcast.parent_of(stream) p) END, source.relation);
    IF NOT (CASE WHEN stream.guard IS NULL THEN has_any_column_privilege(caller, judge, 'SELECT')
      ELSE has_function_privilege(caller, to_regprocedure(stream.guard || '(text)'), 'EXECUTE') END)
    THEN
      RAISE EXCEPTION '% may read no channel of the stream %', quote_ident(caller), stream.name USING ERRCODE = 'insufficient_privilege';
    END IF;
  END IF;
  EXECUTE format('SELECT greatest((SELECT max(t.%I) FROM %s t WHERE t.%I = $1::%s),
      (SELECT c.floor - 1 FROM rowcast.channels c WHERE c.stream_id = $2 AND c.key = $1), 0)', stream.seq_column, stream.relation, stream.key_column,
    (SELECT a.atttypid::regtype FROM pg_attribute a WHERE a.attrelid = stream.relation AND a.attname = stream.key_column))
    INTO head USING key, stream.stream_id;
  RETURN stream.epoch || '.' || head;
END $$;

REVOKE ALL ON rowcast.tracks, rowcast.changes FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT ON rowcast.tracks TO PUBLIC;
-- They write with the rights of their owner: see rowcast.make_access.
REVOKE EXECUTE ON FUNCTION rowcast.number_changes, rowcast.track_truncated, rowcast.make_numbering, rowcast.renew_track, rowcast.renew_tracks
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.renew_tracks TO rowcast_gateway;
