import { z } from 'zod';
import { parseDatabaseUrl } from './database-url.js';
import { count, milliseconds, type Setting, whole } from './setting.js';

const databaseUrl = z
  .string()
  .meta({ format: 'uri' })
  .transform((text, { addIssue }) => {
    try {
      parseDatabaseUrl(text);
    } catch (error) {
      addIssue({ code: 'custom', message: (error as Error).message });
    }
    return text.trim();
  });

/** The database, and how the gateway uses it. */
export const databaseSettings = {
  databaseUrl: {
    env: 'DATABASE_URL',
    schema: databaseUrl.optional(),
    unit: 'URL',
    about: 'The database. If it is not set, `rowcast up` starts an embedded PostgreSQL.',
    file: true,
  },
  dataDir: {
    env: 'ROWCAST_DATA_DIR',
    schema: z.string().min(1).default('.rowcast'),
    unit: 'folder',
    about: 'Where the embedded PostgreSQL keeps its data.',
  },
  poolSize: {
    env: 'ROWCAST_POOL_SIZE',
    schema: whole(1, 100).default(4),
    unit: 'connections',
    about:
      'Connections to the database that read pages of history. Besides these, three listen, read the tail and hold the gate, and four check access.',
  },
  apiPoolSize: {
    env: 'ROWCAST_API_POOL_SIZE',
    schema: whole(1, 100).default(4),
    unit: 'connections',
    about:
      'Connections to the database for the HTTP API, opened when they are needed: one for short reads; of the others one user has at most half, and so have all users of one venture.',
  },
  queryTimeout: {
    env: 'ROWCAST_QUERY_TIMEOUT',
    schema: milliseconds.default(10_000),
    unit: 'ms',
    about: 'How long a query of the history or of the HTTP API may take before its connection is closed.',
  },
  silenceTimeout: {
    env: 'ROWCAST_SILENCE_TIMEOUT',
    schema: whole(100, 600_000).default(3000),
    unit: 'ms',
    about:
      'How long the database may send nothing to the connections that listen and read the tail before `/readyz` reports it and they are replaced. One read of the tail may take half of it.',
  },
  wakeRate: {
    env: 'ROWCAST_WAKE_RATE',
    schema: count.default(200),
    unit: 'rings per second',
    about:
      'Rate of inserts at which the gateway stops being notified of each insert and reads every 5 ms instead; at half of it, it goes back.',
  },
  accessInterval: {
    env: 'ROWCAST_ACCESS_INTERVAL',
    schema: whole(100, 3_600_000).default(10_000),
    unit: 'ms',
    about:
      'Interval at which access to all open channels is checked again in PostgreSQL. A change of a watched membership takes effect at once.',
  },
  pruneInterval: {
    env: 'ROWCAST_PRUNE_INTERVAL',
    schema: milliseconds.default(60_000),
    unit: 'ms',
    about: 'Interval at which rows beyond the retention of their stream (`rowcast.retain`) are deleted.',
  },
} as const satisfies Record<string, Setting>;
