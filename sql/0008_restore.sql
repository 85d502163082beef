-- A dump that was restored in another cluster: its rows carry the numbers of transactions that are still to come there.

-- Declares the numbering of a stream lost: every position handed out before is answered with a reset. Rows of
-- transactions that did not begin yet get the number of a transaction that ended before all others: else gateways
-- would read them as new, all at once, when the counter of the cluster comes by.
CREATE OR REPLACE FUNCTION rowcast.new_epoch(stream text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  relation     regclass := (SELECT s.relation FROM rowcast.streams s WHERE s.name = stream);
  foreign_rows text;
  there_are    boolean;
  fresh        text;
BEGIN
  -- The table first, as TRUNCATE, attach and detach do, or they and this could wait for each other.
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = relation) THEN -- else it was dropped
    -- What a snapshot shows has a lower number than its end, unless it was written here or in another cluster.
    foreign_rows := 'tx >= pg_snapshot_xmax(pg_current_snapshot()) AND tx <> pg_current_xact_id()';
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s)', relation, foreign_rows) INTO there_are;
    IF there_are THEN
      PERFORM rowcast.without_triggers(relation,
        format('UPDATE %s SET tx = %L WHERE %s', relation, '2', foreign_rows));
    END IF;
  END IF;
  UPDATE rowcast.streams s SET epoch = rowcast.make_epoch() WHERE s.name = stream RETURNING s.epoch INTO fresh;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  RETURN fresh;
END $$;
