-- The doorbell: wakes a sleeping gateway, and costs a busy writer nothing.
--
-- A NOTIFY takes a lock on the whole cluster until its transaction has committed, so it is sent only while no
-- gateway is awake. A gateway that is awake holds the gate exclusively: advisory lock (1919907683, 1), 'rowc' in
-- ASCII. The probe must run AFTER the insert: only then does this transaction hold an xid, and a gateway that
-- falls asleep keeps reading until every xid of its last snapshot has ended.

-- No SET search_path: it would cost as much as the rest. Every name has its schema, and there is no operator.
CREATE FUNCTION rowcast.ring() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  -- One expression: a writer that is cancelled between the two calls would keep the gate shut.
  IF pg_catalog.pg_try_advisory_lock_shared(1919907683, 1) AND pg_catalog.pg_advisory_unlock_shared(1919907683, 1) THEN
    PERFORM pg_catalog.pg_notify('rowcast', '');
  END IF;
  RETURN NULL;
END $$;
