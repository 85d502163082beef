import pg from 'pg';
import { z } from 'zod';
import { fixOf, messageOf } from '../postgres/connect-errors.js';
import { moving } from '../postgres/encoding.js';
import { parseDatabaseUrl } from '../settings/database-url.js';
import { type Check, fault, lasting, type Outcome, ok, warning } from './check.js';

const ROUND_TRIPS = 5;
/** A gateway reads every 5 ms while it is awake. In milliseconds. */
const SLOW_ROUND_TRIP = 50;

/** The only check that the others depend on. */
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
      const found = `${addressOf(databaseUrl)}, a round trip takes ${lasting(median)}`;
      return median > SLOW_ROUND_TRIP
        ? warning(found, 'Run the gateway nearer to the database: each event costs it two round trips.')
        : ok(found);
    } catch (error) {
      return whyNot(error, databaseUrl);
    }
  },
};

function whyNot(error: unknown, databaseUrl: string): Outcome {
  const fix = fixOf(error) ?? 'See whether a firewall is between, and whether PostgreSQL answers others.';
  return fault(`${addressOf(databaseUrl)} cannot be reached: ${messageOf(error)}`, fix);
}

/** Without the password. */
export function addressOf(databaseUrl: string): string {
  const { host = 'localhost', port = 5432, user, database = '' } = parseDatabaseUrl(databaseUrl);
  return `${host.includes(':') ? `[${host}]` : host}:${port}/${database} as ${user ?? pg.defaults.user}`;
}

/** Since when the gate can be a lease (idle_session_timeout), and since when versions are tested. */
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
  if (major >= LEASE_VERSION) return warning(`${found} is older than what is supported`, upgrade);
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
      'a standby: it knows no LISTEN, no NOTIFY and no advisory lock that writers see',
      `Let DATABASE_URL lead to the primary${sender === null ? '' : `, ${sender}`}; or promote this server.`,
    );
  },
};

/** In milliseconds. */
const CLOCK_TOLERANCE = 1000;

export const clock: Check = {
  name: 'clock',
  async run(probe, { now }) {
    const row = z.object({ at: z.number() });
    await probe.read(row, 'SELECT 1 AS at'); // so that connecting does not count
    const start = now();
    const { at } = await probe.readOne(row, 'SELECT extract(epoch FROM clock_timestamp())::float8 * 1000 AS at');
    const end = now();
    // The answer was given at some time between; all of that is no difference.
    const difference = at > end ? at - end : Math.max(0, start - at);
    if (difference <= CLOCK_TOLERANCE) return ok('this machine and the database agree');
    return warning(
      `the database is ${lasting(difference)} ${at > end ? 'ahead of' : 'behind'} this machine`,
      'Run a time service (NTP) on both: tokens expire by the one clock, events are pruned by the other.',
    );
  },
};
