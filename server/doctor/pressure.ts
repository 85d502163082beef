/**
 * Checks whether sessions and limits of the server get in the way: long and prepared transactions, the notification queue, and
 * room for the connections of one more gateway.
 */
import { z } from 'zod';
import { type Check, DOCTOR, fault, formatDuration, type Outcome, ok, Probe, warning } from './check.js';

const session = z.object({
  pid: z.number(),
  database: z.string().nullable(),
  role: z.string().nullable(),
  application: z.string(),
  state: z.string(),
  age: z.number(),
});
type OpenTransaction = z.infer<typeof session>;

/** Without the text of queries, which may contain private data. */
const OPEN = `
  SELECT pid, datname AS database, usename AS role, coalesce(application_name, '') AS application,
         coalesce(state, 'unknown') AS state, extract(epoch FROM now() - xact_start)::float8 AS age
    FROM pg_stat_activity
   WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
     AND application_name <> '${DOCTOR}'`;

function describe({ pid, database, role, application, state, age }: OpenTransaction): string {
  return `pid ${pid} (${[application, role, database].filter(Boolean).join(', ')}), ${state}, open for ${formatDuration(age * 1000)}`;
}

const ending = (sessions: readonly { pid: number }[]) =>
  `Let their programs commit, or end them: ${sessions.map(({ pid }) => `SELECT pg_terminate_backend(${pid});`).join(' ')}`;

/** Only a member of pg_read_all_stats can see the sessions of other roles. */
const SEES_OTHERS = `SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS yes`;
async function withCaveat(probe: Probe, outcome: Outcome): Promise<Outcome> {
  const { yes } = await probe.readOne(z.object({ yes: z.boolean() }), SEES_OTHERS);
  if (yes) return outcome;
  return { ...outcome, found: `${outcome.found}; sessions of other roles are hidden (GRANT pg_read_all_stats)` };
}

export const queue: Check = {
  name: 'queue',
  async run(probe) {
    const { usage } = await probe.readOne(
      z.object({ usage: z.number() }),
      'SELECT pg_notification_queue_usage() AS usage',
    );
    const oldest = await probe.read(session, `${OPEN} ORDER BY xact_start LIMIT 3`);
    return queueOutcome(usage, oldest);
  },
};

/** Shares of the queue at which it is reported. When it is full, every NOTIFY fails, and the INSERT that rings fails with it. */
const FILLING = 0.1;
const NEARLY_FULL = 0.5;

export function queueOutcome(usage: number, oldest: readonly OpenTransaction[]): Outcome {
  const share = `the notification queue is ${usage < 0.01 && usage > 0 ? 'less than 1' : Math.round(usage * 100)} % full`;
  if (usage <= FILLING) return ok(share);
  const suspects =
    oldest.length === 0
      ? 'no open transaction can be seen'
      : `a listening session in an open transaction keeps it from being emptied, perhaps ${oldest.map(describe).join('; ')}`;
  const verdict = usage > NEARLY_FULL ? fault : warning;
  return verdict(
    `${share}: ${suspects}`,
    oldest.length === 0 ? 'Look for it as a superuser in pg_stat_activity.' : ending(oldest),
  );
}

export const transactions: Check = {
  name: 'transactions',
  async run(probe, { longTransaction }) {
    const long = await probe.read(
      session,
      `${OPEN} AND xact_start < now() - make_interval(secs => $1) ORDER BY xact_start LIMIT 5`,
      [longTransaction],
    );
    if (long.length === 0)
      return withCaveat(probe, ok(`none is open for more than ${formatDuration(longTransaction * 1000)}`));
    const others = 'other writers of their channels wait, and no old row versions can be removed';
    return withCaveat(probe, warning(`${long.map(describe).join('; ')}: ${others}`, ending(long)));
  },
};

export const prepared: Check = {
  name: 'prepared',
  async run(probe, { longTransaction }) {
    const row = z.object({ gid: z.string(), age: z.number() });
    const old = await probe.read(
      row,
      `SELECT gid, extract(epoch FROM now() - prepared)::float8 AS age FROM pg_prepared_xacts
        WHERE prepared < now() - make_interval(secs => $1) ORDER BY prepared LIMIT 5`,
      [longTransaction],
    );
    if (old.length === 0) return ok('no prepared transaction is pending');
    const found = old.map(({ gid, age }) => `${gid}, for ${formatDuration(age * 1000)}`).join('; ');
    return warning(
      `prepared transactions are pending: ${found}`,
      `COMMIT PREPARED or ROLLBACK PREPARED, in their databases: ${old.map(({ gid }) => `'${gid.replaceAll("'", "''")}'`).join(', ')}`,
    );
  },
};

/** Each gateway has one listener. */
const GATEWAYS = `(SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'rowcast listener' AND datname = current_database()) AS gateways`;

const room = z.object({
  what: z.string(),
  most: z.number(),
  used: z.number(),
  gateways: z.number(),
  raise: z.string(),
});

/**
 * A limit of -1 means no limit. Each gateway has one listening session. A role without rights sees the type of no
 * session; sessions without a database are those of the server itself.
 */
const ROOM = `
  WITH sessions AS (
    SELECT * FROM pg_stat_activity
     WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend' AND coalesce(application_name, '') <> '${DOCTOR}'),
  limits AS (
    SELECT 'max_connections' AS what,
           (SELECT sum(CASE name WHEN 'max_connections' THEN 1 ELSE -1 END * setting::int) FROM pg_settings
             WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections'))::int AS most,
           (SELECT count(*) FROM sessions) AS used,
           'ALTER SYSTEM SET max_connections = …; and restart PostgreSQL' AS raise
    UNION ALL
    SELECT 'the limit of the role', rolconnlimit, (SELECT count(*) FROM sessions WHERE usename = current_user),
           format('ALTER ROLE %I CONNECTION LIMIT -1;', current_user)
      FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0
    UNION ALL
    SELECT 'the limit of the database', datconnlimit, (SELECT count(*) FROM sessions WHERE datname = current_database()),
           format('ALTER DATABASE %I CONNECTION LIMIT -1;', current_database())
      FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0)
  SELECT *, ${GATEWAYS} FROM limits ORDER BY most - used`;

/** How many gateways are connected to a database; null if it does not say. */
export async function connectedGateways(databaseUrl: string): Promise<number | null> {
  const probe = new Probe(databaseUrl);
  try {
    return (await probe.readOne(z.object({ gateways: z.number() }), `SELECT ${GATEWAYS}`)).gateways;
  } catch {
    return null;
  } finally {
    await probe.close();
  }
}

export const connections: Check = {
  name: 'connections',
  async run(probe, { gatewayConnections }) {
    const { what, most, used, gateways, raise } = await probe.readOne(room, ROOM);
    const found = `${used} of ${most} are used (${what}); a gateway opens up to ${gatewayConnections}`;
    if (most - used >= gatewayConnections) return ok(`${found}; gateways connected: ${gateways}`);
    const fix = `${raise}; or end sessions that are not needed, or lower ROWCAST_POOL_SIZE or ROWCAST_API_POOL_SIZE.`;
    if (gateways > 0) return warning(`${found}: there is no room for one more`, fix);
    return fault(`${found}: there is no room for it`, fix);
  },
};
