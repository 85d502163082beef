-- Access: who may read a channel, and the bell that rings when that changes.
--
-- Policies and guards belong to the application, so what leads to them has no search_path of its own and names everything
-- with its schema: they run with that of the session, and for a gateway with that of the owner of the table.

-- The subject of the token. Written as RETURN, so that no search_path gives it another meaning.
CREATE FUNCTION rowcast.subject() RETURNS text
LANGUAGE sql STABLE
RETURN nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub';

-- Lets the gateway read a column, or all: a policy that hid a row from it would make a hole in a channel.
CREATE FUNCTION rowcast.open_to_gateway(relation regclass, only_column name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  schema name := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
BEGIN
  IF NOT has_schema_privilege('rowcast_gateway', schema, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO rowcast_gateway', schema);
  END IF;
  IF only_column IS NULL AND NOT has_table_privilege('rowcast_gateway', relation, 'SELECT') THEN
    EXECUTE format('GRANT SELECT ON %s TO rowcast_gateway', relation);
  ELSIF only_column IS NOT NULL AND NOT has_column_privilege('rowcast_gateway', relation, only_column, 'SELECT') THEN
    EXECUTE format('GRANT SELECT (%I) ON %s TO rowcast_gateway', only_column, relation);
  END IF;
  IF NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = relation AND p.polname = 'rowcast_gateway') THEN
    EXECUTE format('CREATE POLICY rowcast_gateway ON %s FOR SELECT TO rowcast_gateway USING (true)', relation);
  END IF;
END $$;

-- Takes these rights away where no stream needs them any more.
CREATE FUNCTION rowcast.close_to_gateway(relation regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
  used   oid[] := ARRAY(SELECT unnest(ARRAY[s.relation::oid, p.relation::oid])
                          FROM rowcast.streams s LEFT JOIN LATERAL rowcast.parent_of(s) p ON true);
  schema pg_namespace := (SELECT n FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
BEGIN
  IF relation::oid = ANY (used) THEN
    RETURN;
  END IF;
  EXECUTE format('DROP POLICY IF EXISTS rowcast_gateway ON %s', relation);
  EXECUTE format('REVOKE SELECT ON %s FROM rowcast_gateway', relation); -- also from each column
  IF schema.nspname <> 'rowcast'
    AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = schema.oid AND c.oid = ANY (used))
    AND EXISTS (SELECT FROM aclexplode(schema.nspacl) a WHERE a.grantee = 'rowcast_gateway'::regrole)
  THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM rowcast_gateway', schema.nspname);
  END IF;
END $$;

-- The rows of a channel that are looked at to decide who may read it.
CREATE FUNCTION rowcast.most_looked_at() RETURNS int LANGUAGE sql IMMUTABLE RETURN 20;

-- A stream as if its rows were its events: of a tracked table, the table and its key. `key_column` is null if all rows are in
-- one channel.
CREATE FUNCTION rowcast.source_of(stream rowcast.streams) RETURNS rowcast.streams
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  track rowcast.tracks;
BEGIN
  SELECT t.* INTO track FROM rowcast.tracks t WHERE t.stream_id = stream.stream_id;
  IF FOUND THEN
    stream.relation := track.relation;
    stream.key_column := (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = track.relation AND a.attnum = track.key);
  END IF;
  RETURN stream;
END $$;

-- Who may read a channel of this stream: those that its guard admits; else those that see the row that the key refers to;
-- else those that see one of the newest rows of the channel. A function of its own for each stream, so that its statement is
-- planned once.
--
-- Of the rows of a channel only the newest are shown to the policy, from the number that <name>_newest returns to the newest
-- one. Otherwise the duration of a refusal would depend on the length of the channel, which it would tell, and would delay the
-- questions after it. The range has both ends because PostgreSQL takes one with only a start for a third of the table, or for
-- nearly all of it, and reads the whole table instead of the index.
-- Without notices: DROP IF EXISTS would tell the caller of what was never there.
CREATE FUNCTION rowcast.make_access(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $make$
DECLARE
  -- The changes of a tracked table may be read like its rows.
  source     rowcast.streams := rowcast.source_of(stream);
  parent     regclass;
  parent_key name;
  guard      text;
  key_type   name := (SELECT t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                        WHERE a.attrelid = stream.relation AND a.attname = stream.key_column);
BEGIN
  SELECT p.relation, p.key INTO parent, parent_key FROM rowcast.parent_of(source) p;
  -- The name as the catalogue has it: the text is what the owner of the table has written.
  SELECT format('%I.%I', n.nspname, p.proname) INTO guard FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.oid = to_regprocedure(stream.guard || '(text)');
  IF stream.guard IS NOT NULL AND guard IS NULL THEN
    RAISE EXCEPTION 'the guard % of the stream % is gone', stream.guard, stream.name USING ERRCODE = 'undefined_function',
      HINT = format('Give it another, or none: SELECT rowcast.guard(%L, NULL);', stream.name);
  END IF;
  PERFORM rowcast.open_to_gateway(stream.relation);
  IF parent IS NOT NULL AND source = stream THEN
    PERFORM rowcast.open_to_gateway(parent, parent_key);
  END IF;
  EXECUTE format('CREATE OR REPLACE FUNCTION rowcast.%I(text, bigint, bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE AS %L', stream.name || '_can_read', format('BEGIN RETURN %s; END',
    CASE WHEN guard IS NOT NULL THEN guard || '($1)'
    ELSE concat_ws(' OR ',
      CASE WHEN source.key_column IS NOT NULL THEN format('EXISTS (SELECT FROM %s t WHERE t.%I OPERATOR(pg_catalog.=) $1::pg_catalog.%I%s)',
        coalesce(parent, source.relation), coalesce(parent_key, source.key_column), key_type,
        CASE WHEN parent IS NULL AND source = stream THEN format(' AND t.%1$I OPERATOR(pg_catalog.>=) $2 AND t.%1$I OPERATOR(pg_catalog.<=) $3', stream.seq_column) END) END,
      -- A channel whose rows were all deleted is the same to those that see all rows.
      CASE WHEN parent IS NULL AND source <> stream THEN format(
        'NOT pg_catalog.row_security_active(%1$L::pg_catalog.regclass) AND pg_catalog.has_table_privilege(%1$L, ''SELECT'')', source.relation) END)
    END));
  EXECUTE format('DROP FUNCTION IF EXISTS rowcast.%I(text)', stream.name || '_newest');
  IF guard IS NULL AND parent IS NULL AND source = stream THEN
    EXECUTE format('CREATE FUNCTION rowcast.%I(text) RETURNS bigint LANGUAGE plpgsql STABLE
      SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS %L',
      stream.name || '_newest', format('BEGIN RETURN (SELECT t.%1$I - %2$s FROM %3$s t WHERE t.%4$I = $1::%5$I ORDER BY t.%1$I DESC LIMIT 1); END',
        stream.seq_column, rowcast.most_looked_at() - 1, stream.relation, stream.key_column, key_type));
    EXECUTE format('REVOKE EXECUTE ON FUNCTION rowcast.%I(text) FROM PUBLIC, anon, authenticated, service_role', stream.name || '_newest');
    EXECUTE format('GRANT EXECUTE ON FUNCTION rowcast.%I(text) TO rowcast_gateway', stream.name || '_newest');
  END IF;
END $make$;

-- Whether the present role, with the present claims, may read a channel. A service may read all of them, also those
-- that are not there: it is told so when it reads. `first` and `last`: the numbers of the rows that are looked at.
CREATE FUNCTION rowcast.can_read(channel text, first bigint DEFAULT 0, last bigint DEFAULT 9223372036854775807) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  stream  pg_catalog.text := pg_catalog.split_part(channel, ':', 1);
  allowed pg_catalog.bool;
BEGIN
  IF pg_catalog.pg_has_role('service_role', 'USAGE') THEN
    RETURN true;
  END IF;
  IF pg_catalog.to_regprocedure(pg_catalog.format('rowcast.%I(pg_catalog.text, pg_catalog.int8, pg_catalog.int8)', stream || '_can_read')) IS NULL THEN
    RETURN false;
  END IF;
  EXECUTE pg_catalog.format('SELECT rowcast.%I($1, $2, $3)', stream || '_can_read') INTO allowed
    USING pg_catalog.substr(channel, pg_catalog.length(stream) + 2), first, last;
  RETURN coalesce(allowed, false);
EXCEPTION
  -- No right to the table at all, or no key of this stream.
  WHEN insufficient_privilege OR invalid_text_representation OR numeric_value_out_of_range THEN
    RETURN false;
END $$;

-- For a gateway: whether each principal may read its channel. `allowed` is null where a policy or a guard failed, and
-- `problem` says how. They run with the search_path of the owner of the stream's table.
CREATE FUNCTION rowcast.decide(roles text[], claims text[], channels text[])
RETURNS TABLE (allowed boolean, problem text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stream text;
  known  text;
  path   text;
  looks  boolean;
  first  bigint;
  last   bigint;
BEGIN
  FOR i IN 1 .. cardinality(channels) LOOP
    allowed := NULL;
    problem := NULL;
    stream := split_part(channels[i], ':', 1);
    IF stream IS DISTINCT FROM known THEN
      known := stream;
      path := coalesce((SELECT rowcast.owner_search_path(s.relation) FROM rowcast.streams s WHERE s.name = stream),
        'pg_catalog, pg_temp');
      looks := to_regprocedure(format('rowcast.%I(text)', stream || '_newest')) IS NOT NULL;
    END IF;
    BEGIN
      first := 0;
      -- As the gateway, which sees all rows. A service needs no look at the table, which may be locked.
      IF looks AND NOT pg_has_role(roles[i], 'service_role', 'USAGE') THEN
        EXECUTE format('SELECT rowcast.%I($1)', stream || '_newest') INTO first USING substr(channels[i], length(stream) + 2);
      END IF;
      -- In a channel without rows there is none to look at.
      first := coalesce(first, 0);
      last := first + rowcast.most_looked_at() - 1;
      PERFORM set_config('search_path', path, true), set_config('role', roles[i], true),
        set_config('request.jwt.claims', claims[i], true);
      allowed := rowcast.can_read(channels[i], first, last);
      -- Undoes what a guard has set: the next principal must not find it.
      RAISE EXCEPTION USING ERRCODE = 'RC000';
    EXCEPTION
      WHEN SQLSTATE 'RC000' THEN NULL;
      WHEN invalid_text_representation OR numeric_value_out_of_range THEN -- no key of this stream
        allowed := false;
      WHEN OTHERS OR assert_failure THEN -- of one principal: the others must not go without an answer
        problem := format('%s (%s)', SQLERRM, SQLSTATE);
    END;
    RETURN NEXT;
  END LOOP;
END $$;

-- Rings every gateway: it decides again what it has decided for a user, or for all. As a trigger for each row it
-- is given the column that names the user.
CREATE FUNCTION rowcast.access_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  affected text;
BEGIN
  IF TG_LEVEL = 'STATEMENT' THEN
    PERFORM pg_notify('rowcast', 'access');
    RETURN NULL;
  END IF;
  FOREACH affected IN ARRAY ARRAY[to_jsonb(OLD) ->> TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[0]] LOOP
    CONTINUE WHEN affected IS NULL;
    -- The hash: every login of the database may listen.
    PERFORM pg_notify('rowcast', 'access:' || encode(sha256(convert_to(affected, 'UTF8')), 'hex'));
  END LOOP;
  RETURN NULL;
END $$;

-- Tells Rowcast that rows of this table decide who may read: a change of one reaches open connections at once.
-- `user_column` names the subject that a row is about; without it everything is decided again.
CREATE FUNCTION rowcast.watch_access(relation regclass, user_column name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
BEGIN
  IF user_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attname = user_column AND a.attnum > 0 AND NOT a.attisdropped)
  THEN
    RAISE EXCEPTION '% has no column %', relation, quote_ident(user_column) USING ERRCODE = 'undefined_column';
  END IF;
  EXECUTE format('DROP TRIGGER IF EXISTS rowcast_access ON %s', relation);
  EXECUTE format('DROP TRIGGER IF EXISTS rowcast_access_truncated ON %s', relation);
  EXECUTE format('CREATE TRIGGER rowcast_access AFTER INSERT OR UPDATE OR DELETE ON %s
    FOR EACH %s EXECUTE FUNCTION rowcast.access_changed(%s)', relation,
    CASE WHEN user_column IS NULL THEN 'STATEMENT' ELSE 'ROW' END, coalesce(quote_literal(user_column), ''));
  EXECUTE format('CREATE TRIGGER rowcast_access_truncated AFTER TRUNCATE ON %s
    FOR EACH STATEMENT EXECUTE FUNCTION rowcast.access_changed()', relation);
END $$;

-- Gives a stream a guard: a function of one text, the key of a channel, that says whether the present role and claims
-- may read it. Null takes it away.
CREATE FUNCTION rowcast.guard(stream text, guard regproc) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target rowcast.streams;
  called text := (SELECT format('%I.%I', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.oid = guard.guard AND p.prorettype = 'boolean'::regtype AND p.proargtypes = ARRAY['text'::regtype]::oidvector);
BEGIN
  IF guard IS NOT NULL AND called IS NULL THEN
    RAISE EXCEPTION '% is no function of one text that returns a boolean', guard USING ERRCODE = 'undefined_function';
  END IF;
  UPDATE rowcast.streams s SET guard = called WHERE s.name = stream RETURNING s.* INTO target;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream % of yours', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  PERFORM rowcast.make_access(target);
  PERFORM pg_notify('rowcast', 'access');
END $$;
