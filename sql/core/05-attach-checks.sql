-- What attach refuses, and the facts that it asks for: it refuses at once, and with the mend, what could not work later.

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

-- Whether a table is one of Rowcast's own. Tables of the application may be in the schema as well: the search_path of
-- a login that is called rowcast begins there.
CREATE FUNCTION rowcast.is_own(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM pg_class c WHERE c.oid = relation AND c.relnamespace = 'rowcast'::regnamespace AND c.relname IN ('catalog',
    'changes', 'channels', 'extensions', 'granted', 'idempotency_keys', 'migrations', 'retention', 'streams', 'tickets', 'tracks'))
$$;

-- Refuses a name that a new stream cannot have. A table that was dropped and made again takes up its name, under a new epoch.
CREATE FUNCTION rowcast.take_name(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  holder  rowcast.streams;
  tracked regclass;
BEGIN
  IF wanted !~ '^[a-z][a-z0-9_-]{0,39}$' THEN
    RAISE EXCEPTION '% cannot be the name of a stream', quote_literal(wanted) USING ERRCODE = 'invalid_name',
      HINT = 'A name has 1 to 40 of a-z, 0-9, _ and -, and begins with a letter. Choose one: name => ''…''.';
  END IF;
  SELECT s.* INTO holder FROM rowcast.streams s WHERE s.name = wanted;
  IF FOUND THEN
    tracked := (SELECT t.relation FROM rowcast.tracks t WHERE t.stream_id = holder.stream_id);
    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = coalesce(tracked, holder.relation)) THEN
      RAISE EXCEPTION 'there is a stream % already', wanted USING ERRCODE = 'duplicate_object',
        HINT = 'Give this one another name: name => ''…''.';
    ELSIF tracked IS NULL THEN
      PERFORM rowcast.detach(wanted);
    ELSE
      PERFORM rowcast.untrack(wanted);
    END IF;
  END IF;
END $$;

-- Says why a table cannot be a stream, before anything is changed.
CREATE FUNCTION rowcast.check_attachable(relation regclass, key name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tab   pg_class := (SELECT c FROM pg_class c WHERE c.oid = relation);
  col   record;
  wrong record;
BEGIN
  IF tab.relkind IN ('r', 'p') IS NOT TRUE OR tab.relpersistence = 't' THEN
    RAISE EXCEPTION '% is not an ordinary table', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Attach the table that its rows come from, or copy them to an ordinary table with a trigger.';
  END IF;
  -- The trigger that numbers a row writes to these tables.
  IF rowcast.is_own(relation) THEN
    RAISE EXCEPTION '% belongs to Rowcast, and cannot be a stream', relation USING ERRCODE = 'wrong_object_type',
      HINT = 'Copy its rows to a table of your own with a trigger.';
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

-- Says why a stream cannot be attached again as wanted. A column that was renamed is not there by its old name.
CREATE FUNCTION rowcast.check_attached(attached rowcast.streams, wanted rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  there name[] := ARRAY(SELECT a.attname FROM pg_attribute a
    WHERE a.attrelid = attached.relation AND a.attnum > 0 AND NOT a.attisdropped);
  col   record;
BEGIN
  IF wanted.name <> attached.name THEN
    RAISE EXCEPTION '% is attached already, as stream %', attached.relation, attached.name USING ERRCODE = 'duplicate_object',
      HINT = format('SELECT rowcast.detach(%L);', attached.name);
  END IF;
  IF wanted.key_column <> attached.key_column AND attached.key_column = ANY (there) THEN
    RAISE EXCEPTION '% is attached with the key %, and its events are numbered by that', attached.relation, quote_ident(attached.key_column)
      USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = format('Detach it first, which gives up its numbers: SELECT rowcast.detach(%L);', attached.name);
  END IF;
  FOR col IN SELECT * FROM (VALUES ('seq', attached.seq_column, wanted.seq_column), ('tx', attached.tx_column, wanted.tx_column)) c(option, was, wanted) LOOP
    IF col.wanted <> col.was AND col.was = ANY (there) THEN
      RAISE EXCEPTION '% is attached with the column % as %', attached.relation, quote_ident(col.was), col.option
        USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = format('Rename it first: ALTER TABLE %s RENAME COLUMN %I TO %I;', attached.relation, col.was, col.wanted);
    ELSIF col.wanted <> ALL (there) THEN
      RAISE EXCEPTION '% has no column % any more', attached.relation, quote_ident(col.wanted) USING ERRCODE = 'undefined_column',
        HINT = format('If it was renamed, attach with its new name: %s => …; if it was dropped: SELECT rowcast.detach(%L);',
          col.option, attached.name);
    END IF;
  END LOOP;
END $$;
