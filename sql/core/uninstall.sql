-- Takes away the schema rowcast and all that it has added to tables of the application. What the application has built on
-- the schema, or put into it, is named and left alone: then nothing is removed. Each INFO is a line of what was removed.
DO $$
DECLARE
  gateway constant oid := to_regrole('rowcast_gateway');
  tables  constant name[] := ARRAY['migrations', 'extensions', 'granted', 'streams', 'channels', 'catalog', 'retention',
    'messages', 'tickets', 'idempotency_keys', 'tracks', 'changes'];
  item        record;
  in_the_way  text;
  memberships text[] := ARRAY(SELECT format('REVOKE %s FROM %s', g.object, g.grantee) FROM rowcast.granted g WHERE g.privilege = '');
  of_others   boolean;
BEGIN
  FOR item IN SELECT s.name, t.relation, c.oid IS NULL AS gone FROM rowcast.tracks t JOIN rowcast.streams s USING (stream_id)
    LEFT JOIN pg_class c ON c.oid = t.relation ORDER BY s.stream_id
  LOOP
    PERFORM rowcast.untrack(item.name);
    CONTINUE WHEN item.gone;
    RAISE INFO 'the stream % and its events; the tracked table % stays', item.name, item.relation;
  END LOOP;
  DROP SCHEMA rowcast_streams;

  FOR item IN SELECT s.name, s.relation, s.seq_column, s.tx_column, c.oid IS NULL AS gone FROM rowcast.streams s LEFT JOIN pg_class c ON c.oid = s.relation
    WHERE s.relation <> 'rowcast.messages'::regclass ORDER BY s.stream_id
  LOOP
    PERFORM rowcast.detach(item.name);
    CONTINUE WHEN item.gone;
    RAISE INFO 'the stream %, with its columns % and %, indexes and triggers; the table % stays',
      item.name, quote_ident(item.seq_column), quote_ident(item.tx_column), item.relation;
  END LOOP;

  -- Those of watch_access.
  FOR item IN SELECT t.tgname, t.tgrelid::regclass AS relation FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    JOIN pg_class c ON c.oid = t.tgrelid WHERE p.pronamespace = 'rowcast'::regnamespace
     AND c.relnamespace <> 'rowcast'::regnamespace AND NOT t.tgisinternal AND t.tgparentid = 0
  LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', item.tgname, item.relation);
    RAISE INFO 'trigger % on %', item.tgname, item.relation;
  END LOOP;

  -- What detach did not find: of tables that a key refers to no more.
  FOR item IN SELECT p.polrelid::regclass AS relation FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polname = 'rowcast_gateway' AND p.polroles = ARRAY[gateway] AND c.relnamespace <> 'rowcast'::regnamespace
  LOOP
    EXECUTE format('DROP POLICY rowcast_gateway ON %s', item.relation);
  END LOOP;
  FOR item IN SELECT d.classid, d.objid FROM pg_shdepend d
    WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = gateway AND d.deptype = 'a'
      AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  LOOP
    IF item.classid = 'pg_class'::regclass THEN
      EXECUTE format('REVOKE SELECT ON %s FROM rowcast_gateway', item.objid::regclass);
    ELSIF item.classid = 'pg_namespace'::regclass THEN
      EXECUTE format('REVOKE USAGE ON SCHEMA %s FROM rowcast_gateway', item.objid::regnamespace);
    END IF;
  END LOOP;

  in_the_way := (
    SELECT string_agg(thing, ', ' ORDER BY thing) FROM (
      SELECT format('rowcast.%I', c.relname) AS thing FROM pg_class c
       WHERE c.relnamespace = 'rowcast'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> ALL (tables)
      UNION
      SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
        FROM pg_depend d
        JOIN (SELECT 'pg_class'::regclass AS class, oid FROM pg_class WHERE relnamespace = 'rowcast'::regnamespace
              UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'rowcast'::regnamespace
              UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = 'rowcast'::regnamespace) own
          ON d.refclassid = own.class AND d.refobjid = own.oid
       WHERE d.deptype = 'n' AND coalesce(CASE d.classid
           WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE oid = d.objid)
           WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = d.objid)
           WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = d.objid)
           WHEN 'pg_constraint'::regclass THEN (SELECT connamespace FROM pg_constraint WHERE oid = d.objid)
           WHEN 'pg_policy'::regclass THEN (SELECT c.relnamespace FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.oid = d.objid)
           WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.oid = d.objid)
           WHEN 'pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.oid = d.objid)
           WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid WHERE a.oid = d.objid)
         END, 0) <> 'rowcast'::regnamespace) of);
  IF in_the_way IS NOT NULL THEN
    RAISE EXCEPTION 'the application uses the schema rowcast: %', in_the_way
      USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Nothing was changed. Drop or change these first.';
  END IF;
  DROP SCHEMA rowcast CASCADE;
  RAISE INFO 'the schema rowcast, with the events of the stream message';

  -- Roles belong to the cluster: another database may use them, or a login be a member of them.
  FOR item IN SELECT r.oid, r.rolname, ARRAY(SELECT m.member::regrole::text FROM pg_auth_members m
      WHERE m.roleid = r.oid AND m.member <> gateway AND m.member <> current_user::regrole) AS members
    FROM pg_roles r WHERE r.rolname IN ('anon', 'authenticated', 'service_role', 'rowcast_gateway')
     AND shobj_description(r.oid, 'pg_authid') = 'made by rowcast migrate' ORDER BY r.rolname = 'rowcast_gateway' DESC, 1
  LOOP
    BEGIN
      IF item.members <> '{}' THEN
        RAISE INFO '(the role % stays: % is a member of it)', item.rolname, array_to_string(item.members, ', ');
        CONTINUE;
      END IF;
      EXECUTE format('DROP ROLE %I', item.rolname);
      RAISE INFO 'the role %', item.rolname;
    EXCEPTION
      WHEN dependent_objects_still_exist THEN
        RAISE INFO '(the role % stays: another database of this server uses it)', item.rolname;
      WHEN insufficient_privilege THEN
        RAISE INFO '(the role % stays: this login may not drop it)', item.rolname;
    END;
  END LOOP;
  of_others := EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = gateway
    AND d.dbid NOT IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())));
  IF to_regrole('rowcast_gateway') IS NOT NULL AND NOT of_others THEN
    FOR item IN SELECT unnest(memberships) AS statement LOOP
      BEGIN
        EXECUTE item.statement;
      EXCEPTION WHEN undefined_object OR insufficient_privilege THEN NULL;
      END;
    END LOOP;
  END IF;
END $$;
