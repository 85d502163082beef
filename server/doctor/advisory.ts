import { z } from 'zod';
import { LOCK_CLASS, locks } from '../postgres/locks.js';
import { type Check, fault, formatDuration, type Outcome, ok, type Probe, warning } from './check.js';

const holder = z.object({
  pid: z.number(),
  granted: z.boolean(),
  exclusive: z.boolean(),
  application: z.string(),
  client: z.string(),
  /** Seconds since it connected, and since its last statement began or ended. */
  age: z.number(),
  quiet: z.number(),
});
type Holder = z.infer<typeof holder>;

/** objsubid 2 marks a key of two integers. */
const HOLDERS = `
  SELECT l.pid, l.granted, l.mode = 'ExclusiveLock' AS exclusive, coalesce(a.application_name, '') AS application,
         coalesce(a.client_addr::text, 'local') AS client,
         coalesce(extract(epoch FROM clock_timestamp() - a.backend_start), 0)::float8 AS age,
         coalesce(extract(epoch FROM clock_timestamp() - a.state_change), 0)::float8 AS quiet
    FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
   WHERE l.locktype = 'advisory' AND l.classid = ${LOCK_CLASS} AND l.objid = $1 AND l.objsubid = 2
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   ORDER BY l.granted DESC, a.backend_start`;

const holders = (probe: Probe, lock: number) => probe.read(holder, HOLDERS, [lock]);

const name = ({ pid, application, client, age }: Holder) =>
  `pid ${pid} (${application || 'unnamed'}, ${client}), connected for ${formatDuration(age * 1000)}`;

const end = ({ pid }: Holder) => `SELECT pg_terminate_backend(${pid});`;

/** A gateway that holds the gate runs a statement several times a second. After this time without one it hangs; in seconds. */
const QUIET = 10;

export const gate: Check = { name: 'gate', run: async (probe) => gateOutcome(await holders(probe, locks.gate)) };

/** `all`: the holder of the gate first, then the sessions that queue for it. */
export function gateOutcome(all: readonly Holder[]): Outcome {
  const [first] = all;
  if (first === undefined) return ok('no gateway holds it: every INSERT rings');
  // A writer that tests the gate holds it in shared mode for microseconds, which is normal.
  const foreign = all.find(
    ({ application, exclusive, quiet }) => application !== 'rowcast gate' && (exclusive || quiet > QUIET),
  );
  if (foreign !== undefined) {
    return fault(
      `${name(foreign)} ${foreign.granted ? 'holds' : 'queues for'} it and is no gateway: writers may not ring`,
      end(foreign),
    );
  }
  if (first.granted && first.quiet > QUIET) {
    return fault(
      `${name(first)} holds it and has been silent for ${formatDuration(first.quiet * 1000)}: a gateway that hangs`,
      `${end(first)} Then restart that gateway.`,
    );
  }
  const waiting = all.filter(({ granted }) => !granted).length;
  return ok(
    `${name(first)} ${first.granted ? 'holds' : 'queues for'} it, ${waiting} wait: INSERTs do not ring, the gateway reads on an interval`,
  );
}

/** The age from which a migration may hang, in seconds. */
const LONG_MIGRATION = 60;

export const migrationLock: Check = {
  name: 'migration lock',
  async run(probe) {
    const [first] = await holders(probe, locks.migrations);
    if (first === undefined) return ok('free');
    if (first.application !== 'rowcast migrate') {
      return fault(`${name(first)} holds it and is no migration: no gateway can start`, end(first));
    }
    if (first.age < LONG_MIGRATION) return ok(`a migration runs: ${name(first)}`);
    return warning(`${name(first)} holds it: a long migration, or one that hangs`, `Wait for it, or: ${end(first)}`);
  },
};
