import { z } from 'zod';
import { browserSettings } from './browsers.js';
import { identitySettings, KEYS } from './identity.js';
import { limitSettings } from './limits.js';
import { bytes, count, isLoopback, KiB, MiB, milliseconds, port, type Setting, whole } from './setting.js';

/** Every setting, once: docs/reference/settings.md and `rowcast up --help` are made from this table. */
export const settings = {
  databaseUrl: {
    env: 'DATABASE_URL',
    schema: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
    unit: 'URL',
    about: 'The database. Left out, `rowcast up` starts an embedded PostgreSQL.',
    file: true,
  },
  host: {
    env: 'ROWCAST_HOST',
    schema: z
      .string()
      .min(1)
      .transform((host) => host.replace(/^\[|\]$/g, ''))
      .default('127.0.0.1'),
    unit: 'address',
    about: 'Where the gateway listens. Without a key for tokens only a loopback address is accepted.',
  },
  port: { env: 'ROWCAST_PORT', schema: port.default(4400), unit: 'port', about: 'Its port; 0 takes any free one.' },
  workers: {
    env: 'ROWCAST_WORKERS',
    schema: whole(1, 256).default(1),
    unit: 'processes',
    about: 'Gateway processes that share the port. Bounds on connections, memory and rates are those of each.',
  },
  ...identitySettings,
  dataDir: {
    env: 'ROWCAST_DATA_DIR',
    schema: z.string().min(1).default('.rowcast'),
    unit: 'folder',
    about: 'Where the embedded PostgreSQL keeps its data.',
  },
  databasePort: {
    env: 'ROWCAST_DATABASE_PORT',
    schema: port.default(0),
    unit: 'port',
    about: 'The port of the embedded PostgreSQL; 0 takes a free one and keeps it.',
  },
  logLevel: {
    env: 'ROWCAST_LOG_LEVEL',
    schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
    unit: 'level',
    about: 'The least important line that is logged, as JSON on standard error.',
  },
  doorbell: {
    env: 'ROWCAST_DOORBELL',
    schema: z.enum(['gated', 'always']).default('gated'),
    unit: 'mode',
    about: '`gated`: inserts ring only while the gateway sleeps. `always`: every insert rings.',
  },
  wakeRate: {
    env: 'ROWCAST_WAKE_RATE',
    schema: count.default(100),
    unit: 'rings per second',
    about: 'From this rate on the gateway stays awake and reads on an interval.',
  },
  sleepRate: {
    env: 'ROWCAST_SLEEP_RATE',
    schema: count.default(50),
    unit: 'commits per second',
    about: 'Below this rate it goes back to sleep and is rung for each insert.',
  },
  awakeInterval: {
    env: 'ROWCAST_AWAKE_INTERVAL',
    schema: whole(1, 500).default(5), // the gate is lost to who does not read for two seconds
    unit: 'ms',
    about: 'How often it reads while awake.',
  },
  safetyInterval: {
    env: 'ROWCAST_SAFETY_INTERVAL',
    schema: milliseconds.default(150),
    unit: 'ms',
    about:
      'How often it reads while asleep, rung or not: the longest that a row waits if the gateway that should have rung dies.',
  },
  poolSize: {
    env: 'ROWCAST_POOL_SIZE',
    schema: whole(1, 100).default(4),
    unit: 'connections',
    about:
      'Connections to the database that read pages of history. Three more listen, read the tail and hold the gate, and four decide who may read.',
  },
  apiPoolSize: {
    env: 'ROWCAST_API_POOL_SIZE',
    schema: whole(1, 100).default(4),
    unit: 'connections',
    about:
      'Connections to the database that answer the HTTP API, at most half of them one user; the first is opened when one is needed.',
  },
  apiBodyBytes: {
    env: 'ROWCAST_API_BODY_BYTES',
    schema: bytes.default(1 * MiB),
    unit: 'bytes',
    about: 'The largest body of a request to the HTTP API.',
  },
  pruneInterval: {
    env: 'ROWCAST_PRUNE_INTERVAL',
    schema: milliseconds.default(60_000),
    unit: 'ms',
    about: 'How often it deletes what the policies of the streams (`rowcast.retain`) do not keep.',
  },
  queryTimeout: {
    env: 'ROWCAST_QUERY_TIMEOUT',
    schema: milliseconds.default(10_000),
    unit: 'ms',
    about: 'How long reading pages of history may take before the connection is given up.',
  },
  silenceTimeout: {
    env: 'ROWCAST_SILENCE_TIMEOUT',
    schema: whole(100, 600_000).default(3000),
    unit: 'ms',
    about:
      'How long the database may be silent to the connections that listen and read the tail before `/readyz` says so and they are replaced. One read of the tail may take half of it.',
  },
  ...browserSettings,
  ...limitSettings,
  pageRows: {
    env: 'ROWCAST_PAGE_ROWS',
    schema: whole(1, 10_000).default(1000),
    unit: 'rows',
    about: 'Events in one page, and so in one frame.',
  },
  pageBytes: {
    env: 'ROWCAST_PAGE_BYTES',
    schema: bytes.default(256 * KiB),
    unit: 'bytes',
    about: 'Size at which a page is full. A larger row is a page of its own.',
  },
  cacheBytes: {
    env: 'ROWCAST_CACHE_BYTES',
    schema: bytes.default(32 * MiB),
    unit: 'bytes',
    about: 'Pages kept in memory, over all channels.',
  },
  channelLinger: {
    env: 'ROWCAST_CHANNEL_LINGER',
    schema: whole(0, 3_600_000).default(30_000),
    unit: 'ms',
    about: 'How long a channel stays in memory that nobody reads any more: the next poll finds it there.',
  },
  cache: {
    env: 'ROWCAST_CACHE',
    schema: z.enum(['private', 'public']).default('private'),
    unit: 'scope',
    about:
      'Who may keep pages of history that were asked for by GET. `public`: also shared caches such as a CDN, which must then check themselves who may read.',
  },
  compression: {
    env: 'ROWCAST_COMPRESSION',
    schema: z.enum(['off', 'on']).default('off'),
    unit: 'mode',
    about:
      '`on`: WebSocket frames and answers to polls of 1 KiB or more are compressed for clients that offer it. Measured with 1,000 readers of the same rows of 11 KB: a quarter of the bytes, 13 times the CPU, three times the memory.',
  },
  accessInterval: {
    env: 'ROWCAST_ACCESS_INTERVAL',
    schema: whole(100, 3_600_000).default(10_000),
    unit: 'ms',
    about:
      'How often Postgres is asked again who may read what, for all that is being read. A change of a watched membership reaches the gateway at once.',
  },
  heartbeat: {
    env: 'ROWCAST_HEARTBEAT',
    schema: whole(100, 600_000).default(25_000),
    unit: 'ms',
    about:
      'How often the gateway pings each client. It looks as often, and ends a connection that was silent for two of these: before three are over.',
  },
  connectTimeout: {
    env: 'ROWCAST_CONNECT_TIMEOUT',
    schema: milliseconds.default(10_000),
    unit: 'ms',
    about: 'How long a new connection may take to send `connect`.',
  },
  refreshTimeout: {
    env: 'ROWCAST_REFRESH_TIMEOUT',
    schema: milliseconds.default(30_000),
    unit: 'ms',
    about:
      'How long a connection whose token has expired waits for a fresh one before it is closed. Nothing is sent meanwhile.',
  },
  shutdownTimeout: {
    env: 'ROWCAST_SHUTDOWN_TIMEOUT',
    schema: milliseconds.default(5000),
    unit: 'ms',
    about: 'How long a stopping gateway waits for its clients to close.',
  },
  url: {
    env: 'ROWCAST_URL',
    schema: z.url({ protocol: /^(https?|wss?)$/ }).default('http://127.0.0.1:4400'),
    unit: 'URL',
    about: 'The gateway that `rowcast watch` and `rowcast channels` ask.',
  },
  token: {
    env: 'ROWCAST_TOKEN',
    schema: z.string().min(1).optional(),
    unit: 'text',
    about: 'The token that they show it.',
    file: true,
  },
} as const satisfies Record<string, Setting>;

export type Config = { readonly [K in keyof typeof settings]: z.output<(typeof settings)[K]['schema']> };

/** The settings are wrong; the message has one line for each, and says what to do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Whether clients have to show who they are. Without a key everybody on this machine is trusted, and nobody else comes in. */
export function needsToken(config: Pick<Config, (typeof KEYS)[number]>): boolean {
  return KEYS.some((key) => config[key] !== undefined);
}

/** Whoever sets one of these means clients to show tokens: without a key, which may have gone missing, all would be open. */
const OF_TOKENS: readonly Setting[] = [
  ...Object.entries(identitySettings).flatMap(([name, setting]) => (KEYS.some((key) => key === name) ? [] : [setting])),
  browserSettings.cookie,
];

/** Reads the settings from an environment. Throws `ConfigError`. An empty variable counts as left out. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = [];
  const values = Object.entries(settings).map(([name, { env: variable, schema }]) => {
    const result = schema.safeParse(env[variable] || undefined);
    if (!result.success) faults.push(`${variable}: ${result.error.issues.map(({ message }) => message).join('; ')}`);
    return [name, result.data];
  });
  const known = new Set<string>(Object.values(settings).map((setting) => setting.env));
  for (const variable of Object.keys(env)) {
    if (variable.startsWith('ROWCAST_') && !known.has(variable)) faults.push(`${variable}: there is no such setting`);
  }
  const config = Object.fromEntries(values) as Config;
  const variables = KEYS.map((key) => settings[key].env);
  const keys = variables.filter((variable) => env[variable]);
  if (config.host && keys.length === 0 && !isLoopback(config.host)) {
    const one = variables.join(' or ');
    faults.push(`ROWCAST_HOST: ${config.host} can be reached by others; set ${one}, or use 127.0.0.1`);
  }
  for (const setting of keys.length === 0 ? OF_TOKENS : []) {
    if ([undefined, '', defaultOf(setting)].includes(env[setting.env])) continue;
    faults.push(`${setting.env}: has no meaning without a key for tokens; set ${variables.join(' or ')} as well`);
  }
  if (keys.length > 1) faults.push(`${keys.join(', ')}: set one of them; tokens are checked in one way`);
  if (config.cookie && config.origins === '*') {
    faults.push('ROWCAST_COOKIE: every page could use it; list the origins of yours in ROWCAST_ORIGINS');
  }
  if (config.sleepRate > config.wakeRate) {
    faults.push('ROWCAST_SLEEP_RATE: cannot be above ROWCAST_WAKE_RATE: it would fall asleep and wake without end');
  }
  if (faults.length > 0) throw new ConfigError(faults.join('\n'));
  return config;
}

/** The default of a setting as one would write it in the environment; empty where it has none. */
export function defaultOf(setting: Setting): string {
  const value = setting.schema.safeParse(undefined).data;
  return value === undefined ? '' : String(value);
}
