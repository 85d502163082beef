import { z } from 'zod';
import { alertSettings } from './alerts.js';
import { browserSettings } from './browsers.js';
import { databaseSettings } from './database.js';
import { identitySettings } from './identity.js';
import { limitSettings } from './limits.js';
import { milliseconds, port, type Setting, whole } from './setting.js';

/** All settings: docs/reference/settings.md and `rowcast up --help` are made from this table. */
export const settings = {
  ...databaseSettings,
  host: {
    env: 'ROWCAST_HOST',
    schema: z
      .string()
      .min(1)
      .transform((host) => host.replace(/^\[|\]$/g, ''))
      .default('127.0.0.1'),
    unit: 'address',
    about: 'Address to listen on. Without a key for tokens it must be a loopback address.',
  },
  port: {
    env: 'ROWCAST_PORT',
    schema: port.default(4400),
    unit: 'port',
    about: 'Port to listen on; 0 chooses a free one.',
  },
  workers: {
    env: 'ROWCAST_WORKERS',
    schema: whole(1, 256).default(1),
    unit: 'processes',
    about: 'Gateway processes that share the port. Each has its own limits on connections, memory and rates.',
  },
  shutdownTimeout: {
    env: 'ROWCAST_SHUTDOWN_TIMEOUT',
    schema: milliseconds.default(5000),
    unit: 'ms',
    about: 'How long a stopping gateway waits for its clients to disconnect.',
  },
  logLevel: {
    env: 'ROWCAST_LOG_LEVEL',
    schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    unit: 'level',
    about: 'Lowest level that is logged, as JSON on standard error.',
  },
  ...identitySettings,
  ...browserSettings,
  ...limitSettings,
  cache: {
    env: 'ROWCAST_CACHE',
    schema: z.enum(['private', 'public']).default('private'),
    unit: 'scope',
    about:
      'Which caches may keep pages of history that were requested by GET. `public`: also shared caches such as a CDN, which must then check access themselves.',
  },
  compression: {
    env: 'ROWCAST_COMPRESSION',
    schema: z.enum(['off', 'on']).default('off'),
    unit: 'mode',
    about:
      '`on`: WebSocket frames and poll responses of 1 KiB or more are compressed for clients that support it. Measured with 1,000 readers of the same rows of 11 KB: a quarter of the bytes, 13 times the CPU, three times the memory.',
  },
  dashboard: {
    env: 'ROWCAST_DASHBOARD',
    schema: z.enum(['on', 'off']).default('on'),
    unit: 'mode',
    about:
      '`off`: the page at `/` is not served. What it shows, each client may read as well: it has no rights of its own.',
  },
  ...alertSettings,
  carrierUrl: {
    env: 'ROWCAST_CARRIER_URL',
    schema: z
      .url({
        protocol: /^(rediss?|postgres(ql)?)$/,
        error: 'must be a URL that begins with redis://, rediss:// or postgres://',
      })
      .optional(),
    unit: 'URL',
    about:
      'Where the gateway sends the ready tasks of the engine for workers that do not claim: a Redis (BullMQ), or a PostgreSQL (DBOS). Without it all workers claim.',
    file: true,
  },
  executionDays: {
    env: 'ROWCAST_EXECUTION_DAYS',
    schema: whole(1, 36_500).optional(),
    unit: 'days',
    about:
      'How long executions of the engine are kept after their end, with their tasks, propagation and log. Without it they are kept.',
  },
  url: {
    env: 'ROWCAST_URL',
    schema: z
      .url({ protocol: /^(https?|wss?)$/, error: 'must be a URL such as http://127.0.0.1:4400' })
      .default('http://127.0.0.1:4400'),
    unit: 'URL',
    about: 'Gateway that `rowcast watch` and `rowcast channels` connect to.',
  },
  token: {
    env: 'ROWCAST_TOKEN',
    schema: z.string().min(1).optional(),
    unit: 'text',
    about: 'Token that they connect with.',
    file: true,
  },
} as const satisfies Record<string, Setting>;

/** The default of a setting as it would be written in the environment; empty if it has none. */
export function defaultOf(setting: Setting): string {
  const value = setting.schema.safeParse(undefined).data;
  return value === undefined ? '' : String(value);
}
