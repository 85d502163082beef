-- A dump that was restored in another cluster: its rows carry the numbers of transactions that are still to come there.

-- Declares the numbering of a stream lost: every position handed out before is answered with a reset. Rows of
-- transactions that did not begin yet get the number of a transaction that ended before all others: else gateways
-- would read them as new, all at once, when the counter of the cluster comes by.
CREATE OR REPLACE FUNCTION rowcast.new_epoch(stream text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  target       rowcast.streams;
  foreign_rows text;
  there_are    boolean;
BEGIN
  UPDATE rowcast.streams s SET epoch = rowcast.make_epoch() WHERE s.name = stream RETURNING s.* INTO target;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no stream %', quote_literal(stream) USING ERRCODE = 'undefined_object';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = target.relation) THEN
    RETURN target.epoch; -- the table was dropped
  END IF;
  -- What a snapshot shows has a lower number than its end, unless it was written here or in another cluster.
  foreign_rows := 'tx >= pg_snapshot_xmax(pg_current_snapshot()) AND tx <> pg_current_xact_id()';
  EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %s)', target.relation, foreign_rows) INTO there_are;
  IF there_are THEN
    PERFORM rowcast.without_triggers(target.relation,
      format('UPDATE %s SET tx = %L WHERE %s', target.relation, '2', foreign_rows));
  END IF;
  RETURN target.epoch;
END $$;
