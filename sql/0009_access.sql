-- Access: the roles, who may read a channel, and the bell that rings when that changes.

-- As PostgREST and Supabase have it: a request runs as the role of whoever asks, `anon` (nobody known), `authenticated`
-- (a user) or `service_role` (a service that is trusted with everything), with the claims of its token in the setting
-- request.jwt.claims. `rowcast_gateway` is what the sessions of a gateway are. NOINHERIT: it may become the others, and
-- has none of their rights itself.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['anon', 'authenticated', 'service_role', 'rowcast_gateway'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
      EXCEPTION
        WHEN duplicate_object OR unique_violation THEN NULL; -- roles belong to the cluster: another database was faster
        WHEN insufficient_privilege THEN
          RAISE EXCEPTION 'there is no role %, and % may not create it', wanted, current_user
            USING ERRCODE = 'insufficient_privilege',
            HINT = format('As a superuser: CREATE ROLE %I NOLOGIN NOINHERIT; and migrate again.', wanted);
      END;
    END IF;
  END LOOP;
  FOREACH wanted IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
    IF NOT pg_has_role('rowcast_gateway', wanted, 'MEMBER') THEN
      BEGIN
        EXECUTE format('GRANT %I TO rowcast_gateway', wanted);
      EXCEPTION
        WHEN unique_violation OR internal_error THEN NULL; -- as above
        WHEN insufficient_privilege THEN
          RAISE EXCEPTION 'rowcast_gateway is no member of %, and % may not make it one', wanted, current_user
            USING ERRCODE = 'insufficient_privilege',
            HINT = format('As a superuser: GRANT %I TO rowcast_gateway; and migrate again.', wanted);
      END;
    END IF;
  END LOOP;
  -- Whoever migrates may run a gateway, if it can give itself the right; another login may be meant to run it. Since
  -- PostgreSQL 16 to have made a role is not yet to be able to become it.
  IF NOT pg_has_role('rowcast_gateway',
    CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
  THEN
    BEGIN
      EXECUTE format('GRANT rowcast_gateway TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
  END IF;
END $$;

GRANT USAGE ON SCHEMA rowcast TO rowcast_gateway, anon, authenticated, service_role;
-- Default privileges may have given more than is meant here.
REVOKE ALL ON ALL TABLES IN SCHEMA rowcast FROM anon, authenticated, service_role;
GRANT SELECT ON rowcast.streams, rowcast.channels, rowcast.catalog, rowcast.retention, rowcast.migrations
  TO rowcast_gateway;

-- Who asks: the subject of the token. Written as RETURN, so that no search_path gives it another meaning.
CREATE FUNCTION rowcast.subject() RETURNS text
LANGUAGE sql STABLE
RETURN nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub';

-- A function of the application that says who may read a channel, as `schema.name`; it is given the key.
ALTER TABLE rowcast.streams ADD COLUMN guard text;

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

-- Who may read a channel of this stream: whoever its guard admits; else who sees the row that the key refers to; else
-- who sees a row of the channel. A function of its own for each stream, so that its statement is planned once.
CREATE FUNCTION rowcast.make_access(stream rowcast.streams) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $make$
DECLARE
  parent     regclass;
  parent_key name;
  own        text[] := ARRAY[stream.name || '_number', stream.name || '_raise_floor'];
  key_type   regtype := (SELECT a.atttypid FROM pg_attribute a
                           WHERE a.attrelid = stream.relation AND a.attname = stream.key_column);
BEGIN
  SELECT p.relation, p.key INTO parent, parent_key FROM rowcast.parent_of(stream) p;
  -- A trigger asks for the right to its function only when it is made: whoever may make a table of any kind could hang
  -- these on it, and number the channels of others. The owner needs them for new partitions.
  EXECUTE format('REVOKE EXECUTE ON FUNCTION rowcast.%I(), rowcast.%I() FROM PUBLIC, anon, authenticated, service_role', own[1], own[2]);
  EXECUTE format('GRANT EXECUTE ON FUNCTION rowcast.%I(), rowcast.%I() TO %s', own[1], own[2],
    (SELECT c.relowner::regrole FROM pg_class c WHERE c.oid = stream.relation));
  PERFORM rowcast.open_to_gateway(stream.relation);
  IF parent IS NOT NULL THEN
    PERFORM rowcast.open_to_gateway(parent, parent_key);
  END IF;
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION rowcast.%1$I(text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN RETURN %2$s; END $$ $sql$,
    stream.name || '_can_read',
    CASE WHEN stream.guard IS NOT NULL THEN stream.guard || '($1)'
    ELSE format('EXISTS (SELECT FROM %s t WHERE t.%I = $1::%s)', coalesce(parent, stream.relation),
      coalesce(parent_key, stream.key_column), key_type)
    END);
END $make$;

-- Whether the present role, with the present claims, may read a channel. A service may read all of them, also those
-- that are not there: it is told so when it reads.
CREATE FUNCTION rowcast.can_read(channel text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stream  text := split_part(channel, ':', 1);
  allowed boolean;
BEGIN
  IF pg_has_role('service_role', 'USAGE') THEN
    RETURN true;
  END IF;
  IF to_regprocedure(format('rowcast.%I(text)', stream || '_can_read')) IS NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('SELECT rowcast.%I($1)', stream || '_can_read') INTO allowed USING substr(channel, length(stream) + 2);
  RETURN coalesce(allowed, false);
EXCEPTION
  -- No right to the table at all, or no key of this stream.
  WHEN insufficient_privilege OR invalid_text_representation OR numeric_value_out_of_range THEN
    RETURN false;
END $$;

-- For a gateway: whether each principal may read its channel. `allowed` is null where a policy or a guard failed, and
-- `problem` says how.
CREATE FUNCTION rowcast.decide(roles text[], claims text[], channels text[])
RETURNS TABLE (allowed boolean, problem text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  FOR i IN 1 .. cardinality(channels) LOOP
    allowed := NULL;
    problem := NULL;
    BEGIN
      PERFORM set_config('role', roles[i], true), set_config('request.jwt.claims', claims[i], true);
      allowed := rowcast.can_read(channels[i]);
      -- Undoes what a guard has set: the next principal must not find it.
      RAISE EXCEPTION USING ERRCODE = 'RC000';
    EXCEPTION
      WHEN SQLSTATE 'RC000' THEN NULL;
      WHEN OTHERS OR assert_failure THEN -- of one principal: the others must not go without an answer
        problem := format('%s (%s)', SQLERRM, SQLSTATE);
    END;
    RETURN NEXT;
  END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION rowcast.decide FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.decide TO rowcast_gateway;

-- Rings every gateway: it decides again what it has decided for a user, or for everybody. As a trigger for each row it
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
    -- A notification has room for 8,000 bytes.
    PERFORM pg_notify('rowcast', CASE WHEN octet_length(affected) < 4000 THEN 'access:' || affected ELSE 'access' END);
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
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  PERFORM rowcast.make_access(target);
  PERFORM pg_notify('rowcast', 'access');
END $$;

-- Makes a table a stream; every row inserted from now on is an event of the channel `<name>:<key>`.
-- Run it again after renaming the table or its key, or after a foreign key of the key came or went: it writes the
-- triggers anew and keeps the numbering.
CREATE OR REPLACE FUNCTION rowcast.attach(relation regclass, key name, name text DEFAULT NULL) RETURNS text
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
  PERFORM rowcast.make_access(stream);
  RETURN stream.name;
END $$;

-- Undoes attach: the triggers and the columns seq and tx go, the table and its rows stay.
CREATE OR REPLACE FUNCTION rowcast.detach(stream text) RETURNS void
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
  EXECUTE format('DROP FUNCTION rowcast.%I(), rowcast.%I(), rowcast.%I(text)',
    stream || '_number', stream || '_raise_floor', stream || '_can_read');
  IF exists THEN
    EXECUTE format('ALTER TABLE %s DROP COLUMN seq, DROP COLUMN tx', relation);
    EXECUTE format('DROP POLICY IF EXISTS rowcast_gateway ON %s', relation);
    EXECUTE format('REVOKE SELECT ON %s FROM rowcast_gateway', relation);
  END IF;
END $$;

DO $$
DECLARE
  stream rowcast.streams;
BEGIN
  FOR stream IN SELECT s.* FROM rowcast.streams s JOIN pg_class c ON c.oid = s.relation ORDER BY s.stream_id LOOP
    PERFORM rowcast.make_access(stream);
  END LOOP;
END $$;

-- The stream `message` is for services; whoever else is to read it needs a guard, and to write it a policy.
ALTER TABLE rowcast.messages ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON rowcast.messages TO service_role;
CREATE POLICY service ON rowcast.messages TO service_role USING (true) WITH CHECK (true);

-- Tickets: what a page shows instead of its token where that would stand in a URL. Each is good for one use, by any
-- gateway. Only the hash is kept. Unlogged: one that a crash takes is asked for again.
CREATE UNLOGGED TABLE rowcast.tickets (
  hash             bytea PRIMARY KEY,
  subject          text NOT NULL,
  role             text NOT NULL,
  claims           text NOT NULL,
  token_expires_at timestamptz,
  expires_at       timestamptz NOT NULL
);
CREATE INDEX ON rowcast.tickets (expires_at);
REVOKE ALL ON rowcast.tickets FROM anon, authenticated, service_role;
GRANT SELECT, INSERT, DELETE ON rowcast.tickets TO rowcast_gateway;

-- Prunes a stream by its own policy, which is all that a gateway may ask for. Null where it has none.
CREATE FUNCTION rowcast.prune_by_policy(stream text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT rowcast.prune(s.name, r.keep, r.keep_rows) FROM rowcast.retention r JOIN rowcast.streams s USING (stream_id)
   WHERE s.name = stream AND (r.keep IS NOT NULL OR r.keep_rows IS NOT NULL)
$$;
REVOKE EXECUTE ON FUNCTION rowcast.prune_by_policy FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION rowcast.prune_by_policy TO rowcast_gateway;
