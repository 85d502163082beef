import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { UnsecuredJWT } from 'jose';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { connectWith, DOORS } from '../support/doors.js';
import { type Claims, Issuer, type SigningKey, signingKey, signWith } from '../support/issuer.js';
import { startLoggingGateway } from '../support/log-lines.js';
import { talk } from '../support/raw-http.js';

const SECRET = 'a secret of at least thirty-two characters';
const CHANNEL = 'message:auth';
const SERVICE = { role: 'service_role', aud: 'rowcast', iss: 'https://id.example' };

let database: TestDatabase;
let issuer: Issuer;
let rsa: SigningKey;
let published: SigningKey;
let foreign: SigningKey;
const gateways: Record<'secret' | 'public key' | 'issuer', Gateway> = {} as never;
const lines: string[] = [];
const shown: string[] = [];

const bySecret = signWith(Buffer.from(SECRET), { alg: 'HS256' });

beforeAll(async () => {
  database = await createDatabase();
  [rsa, published, foreign] = await Promise.all([
    signingKey('RS256', 'public'),
    signingKey('ES256', 'published'),
    signingKey('ES256', 'published'),
  ]);
  issuer = await Issuer.start([published]);
  const start = (settings: Record<string, string>) =>
    startLoggingGateway(
      database.url,
      { ROWCAST_JWT_AUDIENCE: 'rowcast', ROWCAST_JWT_ISSUER: 'https://id.example', ...settings },
      lines,
    );
  gateways.secret = await start({ ROWCAST_JWT_SECRET: SECRET });
  gateways['public key'] = await start({ ROWCAST_JWT_PUBLIC_KEY: rsa.pem });
  gateways.issuer = await start({ ROWCAST_JWT_JWKS_URL: issuer.url });
});
afterAll(async () => {
  for (const gateway of Object.values(gateways)) await gateway.stop();
  await issuer.stop();
  await database.drop();
});

const withRole = (claims: Claims): Claims => ({ ...SERVICE, ...claims });
const later = () => Math.floor(Date.now() / 1000) + 60;

const EXPIRED = { websocket: '4004 token_expired', 'event stream': '200 token_expired', other: '401 token_expired' };
const EARLY = {
  websocket: '4007 token_not_yet_valid',
  'event stream': '200 token_not_yet_valid',
  other: '401 token_not_yet_valid',
};
const NO = { websocket: '4501 unauthorized', 'event stream': '401 unauthorized', other: '401 unauthorized' };
const IN = { websocket: 'in', 'event stream': 'in', other: 'in' };

type Case = [
  name: string,
  gateway: keyof typeof gateways,
  token: () => Promise<string> | string | undefined,
  answers: Record<'websocket' | 'event stream' | 'other', string>,
];

const cases: Case[] = [
  ['a good one', 'secret', () => bySecret(SERVICE), IN],
  ['a good one', 'public key', () => rsa.sign(SERVICE), IN],
  ['a good one', 'issuer', () => published.sign(SERVICE), IN],
  ['none', 'secret', () => undefined, NO],
  ['garbage', 'secret', () => 'garbage', NO],
  ['expired', 'secret', () => bySecret(withRole({ exp: -6 })), EXPIRED],
  ['expired', 'issuer', () => published.sign(withRole({ exp: -6 })), EXPIRED],
  ['not yet valid', 'secret', () => bySecret(withRole({ nbf: later() })), EARLY],
  ['for another audience', 'secret', () => bySecret(withRole({ aud: 'elsewhere' })), NO],
  ['from another issuer', 'secret', () => bySecret(withRole({ iss: 'https://other.example' })), NO],
  ['without exp', 'secret', () => bySecret(withRole({ exp: null })), NO],
  ['without sub', 'secret', () => bySecret(withRole({ sub: undefined })), NO],
  ['alg none', 'secret', () => new UnsecuredJWT({ sub: 'ann', ...SERVICE }).setExpirationTime('1h').encode(), NO],
  ['alg none', 'public key', () => new UnsecuredJWT({ sub: 'ann', ...SERVICE }).setExpirationTime('1h').encode(), NO],
  ['signed with the text of the public key', 'public key', () => confused(rsa.pem), NO],
  ['signed with the text of the public key, trimmed', 'public key', () => confused(rsa.pem.trim()), NO],
  ['of an algorithm that the gateway has no key for', 'secret', () => rsa.sign(SERVICE), NO],
  ['with an unknown key', 'issuer', () => rsa.sign(SERVICE), NO],
  ['of a foreign key with a known name', 'issuer', () => foreign.sign(SERVICE), NO],
  ['longer than any', 'secret', () => bySecret(withRole({ name: 'x'.repeat(16_384) })), NO],
];

const confused = (pem: string) => signWith(Buffer.from(pem), { alg: 'HS256', kid: 'public' })(SERVICE);

test.each(cases)('I5: a token, %s (%s), gets the same answer at every door', async (_name, gateway, make, answers) => {
  const token = await make();
  if (token !== undefined) shown.push(token);
  const { url } = gateways[gateway];
  const answer = Object.entries(DOORS).map(async ([door, ask]) => [door, await ask(url, token, CHANNEL)]);
  const expected = Object.keys(DOORS).map((door) => [door, answers[door as keyof typeof answers] ?? answers.other]);
  expect(Object.fromEntries(await Promise.all(answer))).toEqual(Object.fromEntries(expected));
});

test('I5: a token of 1 MB is not even read, at any door', async () => {
  const { url } = gateways.secret;
  const token = await bySecret(withRole({ name: 'x'.repeat(750_000) }));
  expect(token.length).toBeGreaterThan(1_000_000);
  shown.push(token);
  expect(await DOORS['poll by POST']?.(url, token, CHANNEL)).toBe('413 frame_too_large');
  expect(await connectWith(url, { token })).toMatch(/^\d+ frame_too_large/);
  const asking = (path: string, method = 'GET') =>
    talk(url, `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  for (const path of [`/v1/poll?channel=${CHANNEL}`, `/v1/sse?channel=${CHANNEL}`, '/v1/channels']) {
    expect(await asking(path)).toMatch(/^(HTTP\/1.1 431 |$)/);
  }
  expect(await asking('/v1/tickets', 'POST')).toMatch(/^(HTTP\/1.1 431 |$)/);
});

test('a client without a token is refused where a token is needed', async () => {
  const open = await startLoggingGateway(database.url, { ROWCAST_JWT_SECRET: SECRET, ROWCAST_ANONYMOUS: 'on' }, lines);
  try {
    expect(await connectWith(open.url, {})).toBe('in');
    expect(await DOORS.poll?.(open.url, undefined, CHANNEL)).toBe('403 forbidden');
    expect(await DOORS.tickets?.(open.url, undefined, CHANNEL)).toBe('401 unauthorized');
    for (const bad of ['garbage', await bySecret({ exp: -6 })]) {
      expect(await connectWith(open.url, { token: bad })).toMatch(/^4501 unauthorized|^4004 token_expired/);
      expect(await DOORS.poll?.(open.url, bad, CHANNEL)).toMatch(/^401/);
    }
  } finally {
    await open.stop();
  }
});

test('an issuer that is away makes no user a stranger', async () => {
  const { url: keys } = issuer;
  const late = await startLoggingGateway(database.url, { ROWCAST_JWT_JWKS_URL: keys }, lines);
  try {
    await issuer.stop();
    const token = await published.sign({ ...SERVICE, jti: 'late' });
    shown.push(token);
    expect(await connectWith(late.url, { token })).toMatch(/unavailable/);
    expect(await DOORS.poll?.(late.url, token, CHANNEL)).toBe('503 unavailable');
    expect(await DOORS['event stream']?.(late.url, token, CHANNEL)).toBe('200 unavailable');
    expect(await DOORS.poll?.(gateways.issuer.url, token, CHANNEL)).toBe('in');
  } finally {
    await late.stop();
  }
});

test('no line of the log holds a token, or a part of one', () => {
  const log = lines.join('');
  expect(log).toContain('gateway started');
  expect(shown.length).toBeGreaterThan(20);
  const told = shown.flatMap((token) => token.split('.')).filter((part) => part.length > 40);
  // The header of a token says nothing of its own; what it claims and its signature do.
  expect(told.filter((part) => log.includes(part.slice(0, 200)))).toEqual([]);
});
