/** Checks the connection to the database, and the server: its version, encoding, role as a primary, and clock. */
import pg from 'pg';
import { z } from 'zod';
import { fixOf, messageOf } from '../postgres/connect-errors.js';
import { moving } from '../postgres/encoding.js';
import { parseDatabaseUrl } from '../settings/database-url.js';
import { type Check, fault, formatDuration, type Outcome, ok, warning } from './check.js';

const ROUND_TRIPS = 5;
/** The round trip time from which the connection is slow, in milliseconds. A gateway reads every 5 ms while it is awake. */
const SLOW_ROUND_TRIP = 50;

/** All other checks depend on this one. */
export const connection: Check = {
  name: 'connection',
  async run(probe, { databaseUrl }) {
    try {
      const client = await probe.connect();
      const times: number[] = [];
      for (let trip = 0; trip < ROUND_TRIPS; trip += 1) {
        const start = performance.now();
        await client.query('SELECT 1');
        times.push(performance.now() - start);
      }
      const median = times.sort((a, b) => a - b)[Math.floor(ROUND_TRIPS / 2)] ?? 0;
      const found = `${describeAddress(databaseUrl)}, a round trip takes ${formatDuration(median)}`;
      return median > SLOW_ROUND_TRIP
        ? warning(found, 'Run the gateway closer to the database: each event takes two round trips.')
        : ok(found);
    } catch (error) {
      return whyNot(error, databaseUrl);
    }
  },
};

function whyNot(error: unknown, databaseUrl: string): Outcome {
  const fix = fixOf(error) ?? 'Check for a firewall in between, and whether other clients can connect to PostgreSQL.';
  return fault(`${describeAddress(databaseUrl)} cannot be reached: ${messageOf(error)}`, fix);
}

/** Describes the database without the password. */
export function describeAddress(databaseUrl: string): string {
  const { host = 'localhost', port = 5432, user, database = '' } = parseDatabaseUrl(databaseUrl);
  return `${host.includes(':') ? `[${host}]` : host}:${port}/${database} as ${user ?? pg.defaults.user}`;
}

/** The first version with idle_session_timeout, which makes the gate a lease; and the first supported version. */
const LEASE_VERSION = 14;
const SUPPORTED_VERSION = 15;

export const version: Check = {
  name: 'version',
  async run(probe) {
    const row = z.object({ number: z.number().int(), text: z.string() });
    const { number, text } = await probe.readOne(
      row,
      `SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS text`,
    );
    return versionOutcome(number, text);
  },
};

export function versionOutcome(number: number, text: string): Outcome {
  const major = Math.floor(number / 10_000);
  const found = `PostgreSQL ${text}`;
  if (major >= SUPPORTED_VERSION) return ok(found);
  const upgrade = `Upgrade to PostgreSQL ${SUPPORTED_VERSION} or later.`;
  if (major >= LEASE_VERSION) return warning(`${found} is older than the supported versions`, upgrade);
  return warning(`${found} has no idle_session_timeout: a gateway that hangs may keep the gate for long`, upgrade);
}

export const encoding: Check = {
  name: 'encoding',
  async run(probe) {
    const row = z.object({ encoding: z.string(), name: z.string() });
    const { encoding, name } = await probe.readOne(
      row,
      `SELECT current_setting('server_encoding') AS encoding, quote_ident(current_database()) AS name`,
    );
    if (encoding === 'UTF8') return ok(encoding);
    return fault(`${encoding}: the database must be UTF8`, `Move it: ${moving(name)}.`);
  },
};

export const primary: Check = {
  name: 'primary',
  async run(probe) {
    const row = z.object({ standby: z.boolean(), primary: z.string().nullable() });
    const { standby, primary: sender } = await probe.readOne(
      row,
      `SELECT pg_is_in_recovery() AS standby,
              (SELECT sender_host || ':' || sender_port FROM pg_stat_wal_receiver LIMIT 1) AS primary`,
    );
    if (!standby) return ok('a primary');
    return fault(
      'a standby: it has no LISTEN and NOTIFY, and no advisory locks that writers see',
      `Set DATABASE_URL to the primary${sender === null ? '' : `, ${sender}`}; or promote this server.`,
    );
  },
};

/** The maximum difference between the clocks, in milliseconds. */
const CLOCK_TOLERANCE = 1000;

export const clock: Check = {
  name: 'clock',
  async run(probe, { now }) {
    const row = z.object({ at: z.number() });
    await probe.read(row, 'SELECT 1 AS at'); // connects, so that the time for it is not measured
    const start = now();
    const { at } = await probe.readOne(row, 'SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS at');
    const end = now();
    // The time was read between start and end; any time in between may be correct.
    const difference = at > end ? at - end : Math.max(0, start - at);
    if (difference <= CLOCK_TOLERANCE) return ok('this machine and the database agree');
    return warning(
      `the database is ${formatDuration(difference)} ${at > end ? 'ahead of' : 'behind'} this machine`,
      'Run NTP on both: tokens expire by one clock, and events are pruned by the other.',
    );
  },
};
