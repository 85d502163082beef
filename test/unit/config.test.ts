import { expect, test } from '@jest/globals';
import { type Config, ConfigError, readConfig } from '../../server/settings/config.js';
import { defaultOf, settings } from '../../server/settings/table.js';

const SECRET = 's'.repeat(32);

function faults(env: Record<string, string>): string[] {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
  return [];
}

test('an empty environment gives the documented defaults, and an empty variable counts as left out', () => {
  const expected: Config = {
    databaseUrl: undefined,
    host: '127.0.0.1',
    port: 4400,
    workers: 1,
    jwtSecret: undefined,
    jwtPublicKey: undefined,
    jwksUrl: undefined,
    jwksCooldown: 10,
    jwksRefresh: 300,
    jwksMaxAge: 3_600,
    jwtAudience: undefined,
    jwtIssuer: undefined,
    jwtClockTolerance: 5,
    jwtRoleClaim: 'role',
    anonymous: 'off',
    ticketTtl: 30,
    accessInterval: 10_000,
    refreshTimeout: 30_000,
    apiPoolSize: 4,
    apiBodyBytes: 1_048_576,
    metadataBytes: 64 * 1024,
    contextBytes: 1024 * 1024,
    dataDir: '.rowcast',
    logLevel: 'info',
    wakeRate: 200,
    sleepRate: 100,
    awakeInterval: 5,
    safetyInterval: 150,
    poolSize: 4,
    pruneInterval: 60_000,
    queryTimeout: 10_000,
    silenceTimeout: 3_000,
    maxConnections: 10_000,
    addressConnections: 5_000,
    connectRate: 1200,
    addressConnectRate: 600,
    addressRequestRate: 50,
    addressPollRate: 500,
    origins: '*',
    cookie: undefined,
    userConnections: 1_000,
    userRate: 100,
    trustProxy: 0,
    maxSubscriptions: 100,
    maxFrameBytes: 65_536,
    frameRate: 100,
    byteRate: 65_536,
    sendBufferBytes: 262_144,
    pageRows: 1_000,
    pageBytes: 262_144,
    eventBytes: 16_777_216,
    cacheBytes: 33_554_432,
    channelLinger: 30_000,
    cache: 'private',
    dashboard: 'on',
    alertUrl: undefined,
    alertSecret: undefined,
    carrierUrl: undefined,
    executionDays: undefined,
    compression: 'off',
    heartbeat: 25_000,
    connectTimeout: 10_000,
    shutdownTimeout: 5_000,
    url: 'http://127.0.0.1:4400',
    token: undefined,
  };
  expect(readConfig({})).toEqual(expected);
  const empty = Object.fromEntries(Object.values(settings).map(({ env }) => [env, '']));
  expect(readConfig(empty)).toEqual(expected);
});

test('values that belong together go together', () => {
  const given = { ROWCAST_WAKE_RATE: '10', ROWCAST_FRAME_RATE: '200', ROWCAST_PAGE_BYTES: '4096' };
  expect(readConfig(given)).toMatchObject({ sleepRate: 5, byteRate: 131_072, sendBufferBytes: 4_096 });
});

test('no wake rate makes a gateway fall asleep and wake without end', () => {
  for (const rate of [1, 2, 100, 1_000_000]) {
    const { wakeRate, sleepRate } = readConfig({ ROWCAST_WAKE_RATE: `${rate}` });
    expect(sleepRate).toBeLessThan(wakeRate);
  }
});

test('the default that is shown for a setting is one that can be set', () => {
  const shown = Object.values(settings).map((setting) => [setting.env, defaultOf(setting)]);
  expect(readConfig(Object.fromEntries(shown))).toEqual(readConfig({}));
});

test('settings are read from their variables, numbers as numbers', () => {
  const config = readConfig({ DATABASE_URL: 'postgresql://db/app', ROWCAST_PORT: '0', ROWCAST_CACHE: 'public' });
  expect(config).toMatchObject({ databaseUrl: 'postgresql://db/app', port: 0, cache: 'public' });
});

test('every fault is named at once, one line each, with its variable', () => {
  const wrong = {
    DATABASE_URL: 'mysql://db',
    ROWCAST_POOL_SIZE: '1.5',
    ROWCAST_PORT: '65536',
    ROWCAST_LOG_LEVEL: 'loud',
    ROWCAST_JWT_SECRET: 'short',
    ROWCAST_HEARTBEAT: 'soon',
    ROWCAST_PORTT: '4400',
  };
  const lines = faults(wrong);
  expect(lines.map((line) => line.split(':')[0])).toEqual(Object.keys(wrong));
  expect(lines).toContain('ROWCAST_JWT_SECRET: must have at least 32 characters');
});

test('I5: an open host is a fault that is named together with the others', () => {
  const lines = faults({ ROWCAST_PORT: 'x', ROWCAST_HOST: '0.0.0.0' });
  expect(lines.map((line) => line.split(':')[0]).sort()).toEqual(['ROWCAST_HOST', 'ROWCAST_PORT']);
});

/** What Kubernetes sets in every pod of a namespace for a Service of that name, and for one named after it. */
const serviceLinks = (name: string, address = '10.96.12.7') => ({
  [`${name}_SERVICE_HOST`]: address,
  [`${name}_SERVICE_PORT`]: '4400',
  [`${name}_SERVICE_PORT_HTTP_WEB`]: '4400',
  [`${name}_PORT`]: `tcp://${address}:4400`,
  [`${name}_PORT_4400_TCP`]: `tcp://${address}:4400`,
  [`${name}_PORT_4400_TCP_PROTO`]: 'tcp',
  [`${name}_PORT_4400_TCP_PORT`]: '4400',
  [`${name}_PORT_4400_TCP_ADDR`]: address,
  [`${name}_PORT_53_UDP`]: `udp://${address}:53`,
  [`${name}_ENV_NODE_VERSION`]: '24',
});

test.each(['ROWCAST', 'ROWCAST_API', 'ROWCAST_WORKERS', 'ROWCAST_2'])(
  'the variables of a Kubernetes Service %s are no settings',
  (name) => {
    expect(readConfig(serviceLinks(name))).toEqual(readConfig({}));
    expect(readConfig({ ...serviceLinks(name, 'fd00::7'), ROWCAST_TRUST_PROXY: '1' }).trustProxy).toBe(1);
  },
);

test('a port that is set is taken beside them, and one that is wrong is still a fault', () => {
  expect(readConfig({ ...serviceLinks('ROWCAST'), ROWCAST_PORT: '4500' }).port).toBe(4500);
  expect(faults({ ROWCAST_PORT: 'http://0.0.0.0:80' })).toEqual([
    'ROWCAST_PORT: must be a whole number from 0 to 65535',
  ]);
  for (const name of ['ROWCAST_SERVICE', 'ROWCAST_PORT_4400', 'ROWCAST_API_PORT']) {
    expect(faults({ [name]: '4400' })).toEqual([`${name}: there is no such setting`]);
  }
});

test.each(['', 'x', '1.5', '0', '1e9', '-1'])('a number that is %j is refused with what it may be', (text) => {
  const said = text === '' ? [] : ['ROWCAST_WORKERS: must be a whole number from 1 to 256'];
  expect(faults({ ROWCAST_WORKERS: text })).toEqual(said);
});

test.each(['ROWCAST_PROT', 'ROWCAST_', 'ROWCAST_MAX_CONNECTION'])('%s is refused: there is no such setting', (env) => {
  expect(faults({ [env]: '1' })).toEqual([`${env}: there is no such setting`]);
  expect(faults({ [`NOT_${env}`]: '1' })).toEqual([]);
});

test.each([
  '0.0.0.0',
  '::',
  '10.0.0.7',
  'gateway.example',
  '127.0.0.1.example',
  'localhost.example',
  'not-localhost',
  '[::]',
  '128.0.0.1',
])('I5: without a secret the gateway does not listen on %s', (host) => {
  expect(faults({ ROWCAST_HOST: host })).toEqual([expect.stringContaining('set ROWCAST_JWT_SECRET')]);
  expect(faults({ ROWCAST_HOST: host, ROWCAST_JWT_SECRET: SECRET })).toEqual([]);
});

test.each([
  ['ROWCAST_JWT_AUDIENCE', 'rowcast'],
  ['ROWCAST_JWT_ISSUER', 'https://id.example'],
  ['ROWCAST_JWT_ROLE_CLAIM', 'kind'],
  ['ROWCAST_ANONYMOUS', 'on'],
  ['ROWCAST_COOKIE', 'session'],
])('I5: %s is for tokens: with it, a gateway whose key went missing does not start', (env, value) => {
  const given = { [env]: value, ROWCAST_ORIGINS: 'https://app.example.com' };
  for (const missing of [{}, { ROWCAST_JWT_SECRET: '' }]) {
    expect(faults({ ...given, ...missing })).toEqual([
      expect.stringMatching(`^${env}: has no effect without a key for tokens; set ROWCAST_JWT_SECRET or `),
    ]);
  }
  expect(faults({ ...given, ROWCAST_JWT_SECRET: SECRET })).toEqual([]);
});

test.each(['localhost', '127.0.0.1', '127.1.2.3', '::1', '[::1]'])('without a secret it listens on %s', (host) => {
  expect(readConfig({ ROWCAST_HOST: host }).host).toBe(host.replace(/[[\]]/g, ''));
});
