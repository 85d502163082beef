import { z } from 'zod';

const KiB = 1024;
const MiB = 1024 * KiB;

const whole = (min: number, max: number) => z.coerce.number<string>().int().min(min).max(max);
const port = whole(0, 65_535);
const bytes = whole(1 * KiB, 1024 * MiB);
const milliseconds = whole(1, 3_600_000);
const count = whole(1, 1_000_000);

interface Setting {
  readonly env: string;
  readonly schema: z.ZodType<unknown, string | undefined>;
  readonly unit: string;
  readonly about: string;
}

/** Every setting, once: docs/reference/settings.md and `rowcast up --help` are made from this table. */
export const settings = {
  databaseUrl: {
    env: 'DATABASE_URL',
    schema: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
    unit: 'URL',
    about: 'The database. Left out, `rowcast up` starts an embedded PostgreSQL.',
  },
  host: {
    env: 'ROWCAST_HOST',
    schema: z
      .string()
      .min(1)
      .transform((host) => host.replace(/^\[|\]$/g, ''))
      .default('127.0.0.1'),
    unit: 'address',
    about: 'Where the gateway listens. Without a secret only a loopback address is accepted.',
  },
  port: { env: 'ROWCAST_PORT', schema: port.default(4400), unit: 'port', about: 'Its port; 0 takes any free one.' },
  workers: {
    env: 'ROWCAST_WORKERS',
    schema: whole(1, 256).default(1),
    unit: 'processes',
    about: 'Gateway processes that share the port. Bounds on connections, memory and rates are those of each.',
  },
  jwtSecret: {
    env: 'ROWCAST_JWT_SECRET',
    schema: z.string().min(32, 'must have at least 32 characters').optional(),
    unit: 'text',
    about: 'With it, every connection needs a token signed with it (JWT, HS256).',
  },
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
      'Connections to the database that read pages of history. Three more listen, read the tail and hold the gate.',
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
  maxConnections: {
    env: 'ROWCAST_MAX_CONNECTIONS',
    schema: count.default(10_000),
    unit: 'connections',
    about: 'Clients connected at once.',
  },
  addressConnections: {
    env: 'ROWCAST_ADDRESS_CONNECTIONS',
    schema: count.default(5000),
    unit: 'connections',
    about: 'Of these, from one address: by default half of them, so that no single address takes all.',
  },
  connectRate: {
    env: 'ROWCAST_CONNECT_RATE',
    schema: count.default(500),
    unit: 'connections per second',
    about: 'New connections that are admitted; twice as many at once after a rest. The others hear when to come back.',
  },
  addressConnectRate: {
    env: 'ROWCAST_ADDRESS_CONNECT_RATE',
    schema: count.default(250),
    unit: 'connections per second',
    about: 'The same for one address. An IPv6 network /64 counts as one.',
  },
  addressRequestRate: {
    env: 'ROWCAST_ADDRESS_REQUEST_RATE',
    schema: count.default(50),
    unit: 'requests per second',
    about:
      'HTTP requests from one address, but for `/healthz`, `/readyz` and those with a limit of their own; twice as many at once after a rest.',
  },
  addressPollRate: {
    env: 'ROWCAST_ADDRESS_POLL_RATE',
    schema: count.default(500),
    unit: 'requests per second',
    about: 'The same for polls, commands and reads of Durable Streams.',
  },
  trustProxy: {
    env: 'ROWCAST_TRUST_PROXY',
    schema: whole(0, 10).default(0),
    unit: 'proxies',
    about: 'Proxies in front of the gateway that add to `X-Forwarded-For`; 0 takes the address of the socket.',
  },
  maxSubscriptions: {
    env: 'ROWCAST_MAX_SUBSCRIPTIONS',
    schema: count.default(100),
    unit: 'subscriptions',
    about: 'Subscriptions of one connection.',
  },
  maxFrameBytes: {
    env: 'ROWCAST_MAX_FRAME_BYTES',
    schema: bytes.default(64 * KiB),
    unit: 'bytes',
    about: 'The largest command. One over 16 times this size ends its connection.',
  },
  frameRate: {
    env: 'ROWCAST_FRAME_RATE',
    schema: count.default(100),
    unit: 'frames per second',
    about:
      'Frames of one client, after a burst of one second and two per subscription that it may have. It is read no faster.',
  },
  byteRate: {
    env: 'ROWCAST_BYTE_RATE',
    schema: bytes.default(64 * KiB),
    unit: 'bytes per second',
    about:
      'What one client may send, after a burst of one second and 16 times the largest command. It is read no faster.',
  },
  sendBufferBytes: {
    env: 'ROWCAST_SEND_BUFFER_BYTES',
    schema: bytes.default(256 * KiB),
    unit: 'bytes',
    about: 'What may wait in one connection before its cursors stand still.',
  },
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
  },
} as const satisfies Record<string, Setting>;

export type Config = { readonly [K in keyof typeof settings]: z.output<(typeof settings)[K]['schema']> };

/** The settings are wrong; the message has one line for each, and says what to do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/;

/** Whether a page comes from this machine: a browser here also runs the pages of strangers. */
export function isLoopbackOrigin(origin: string): boolean {
  return URL.canParse(origin) && LOOPBACK.test(new URL(origin).hostname);
}

/** Whether a request is addressed to this machine: the name of a stranger may be made to lead here. A browser always says it. */
export function isLoopbackHost(host: string | undefined): boolean {
  return host === undefined || isLoopbackOrigin(`http://${host}`);
}

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
  if (config.host && !env.ROWCAST_JWT_SECRET && !LOOPBACK.test(config.host)) {
    faults.push(`ROWCAST_HOST: ${config.host} can be reached by others; set ROWCAST_JWT_SECRET, or use 127.0.0.1`);
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
