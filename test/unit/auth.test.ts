import { generateKeyPairSync } from 'node:crypto';
import { expect, jest, test } from '@jest/globals';
import { UnsecuredJWT } from 'jose';
import { makeAuthenticator } from '../../server/auth/authenticator.js';
import { Tokens } from '../../server/auth/tokens.js';
import { makeLogger } from '../../server/ground/logger.js';
import { Refusal } from '../../server/ground/refusal.js';
import type { Tickets } from '../../server/ports/principal.js';
import { type Config, ConfigError, needsToken, readConfig } from '../../server/settings/config.js';
import { type Claims, signingKey, signWith } from '../support/issuer.js';
import { until } from '../support/until.js';

const SECRET = 'a secret of the tests, with 32 characters or more';
const logger = makeLogger('silent');
const none: Tickets = {
  issue: () => Promise.reject(new Error('no tickets here')),
  redeem: async () => null,
};
const byHmac = signWith(Buffer.from(SECRET), { alg: 'HS256' });
const [rsa, ec, ed, otherRsa] = await Promise.all([
  signingKey('RS256', 'r'),
  signingKey('ES256', 'e'),
  signingKey('EdDSA', 'd'),
  signingKey('RS256', 'r'),
]);

const guarded = (env: Record<string, string>, tickets = none, values: Partial<Config> = {}) =>
  makeAuthenticator({ ...readConfig(env), ...values }, { tickets, logger });
const bySecret = (env: Record<string, string> = {}) => guarded({ ROWCAST_JWT_SECRET: SECRET, ...env });

/** The code and the message of a refusal. */
async function refused(asking: Promise<unknown>): Promise<string> {
  const error = await asking.then(
    () => new Error('it was admitted'),
    (reason: unknown) => reason,
  );
  if (error instanceof Refusal) return `${error.code}: ${error.message}`;
  throw error;
}

function faults(env: Record<string, string>): string {
  try {
    readConfig(env);
    return '';
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

test('a good token says who it is, in which role, with which claims, and until when', async () => {
  const exp = Math.floor(Date.now() / 1000) + 600;
  const token = await byHmac({ sub: 'ann', venture: 7 });
  const principal = await bySecret().authenticate({ token });
  expect(principal).toMatchObject({ subject: 'ann', role: 'authenticated' });
  expect(JSON.parse(principal.claims)).toMatchObject({ sub: 'ann', venture: 7 });
  expect(Math.abs((principal.expiresAt ?? 0) / 1000 - (exp + 5))).toBeLessThanOrEqual(1);
});

test.each<[string, Claims, Record<string, string>, string]>([
  ['service_role', { role: 'service_role' }, {}, 'service_role'],
  ['anon', { role: 'anon' }, {}, 'anon'],
  ['another role', { role: 'postgres' }, {}, 'authenticated'],
  ['roles in a list', { role: ['service_role'] }, {}, 'authenticated'],
  ['no role', {}, {}, 'authenticated'],
  ['a claim of another name', { role: 'service_role' }, { ROWCAST_JWT_ROLE_CLAIM: 'kind' }, 'authenticated'],
  ['the claim that is configured', { kind: 'service_role' }, { ROWCAST_JWT_ROLE_CLAIM: 'kind' }, 'service_role'],
  ['a claim that every object has', { role: 'x' }, { ROWCAST_JWT_ROLE_CLAIM: 'constructor' }, 'authenticated'],
])('the role of a token with %s', async (_name, claims, env, role) => {
  expect(await bySecret(env).authenticate({ token: await byHmac(claims) })).toMatchObject({ role });
});

const STRICT = { ROWCAST_JWT_AUDIENCE: 'rowcast, other', ROWCAST_JWT_ISSUER: 'https://id.example' };
const GOOD = { aud: ['rowcast'], iss: 'https://id.example' };

test.each<[string, Claims, string]>([
  ['expired', { exp: -6 }, 'token_expired: The token has expired.'],
  [
    'not yet valid',
    { nbf: Date.now() / 1000 + 60 },
    'token_not_yet_valid: The token is not valid yet: its `nbf` is in the future.',
  ],
  ['another audience', { aud: 'elsewhere' }, 'unauthorized: the token is for another audience'],
  ['no audience', { aud: undefined }, 'unauthorized: the token has no claim aud'],
  ['another issuer', { iss: 'https://id.example/' }, 'unauthorized: the token is from another issuer'],
  ['no issuer', { iss: undefined }, 'unauthorized: the token has no claim iss'],
  ['no end', { exp: null }, 'unauthorized: the token has no claim exp'],
  ['no subject', { sub: undefined }, 'unauthorized: the token has no claim sub'],
  ['an empty subject', { sub: '' }, 'unauthorized: the claim sub of the token is not a non-empty string'],
  [
    'a subject that is no text',
    { sub: 7 as unknown as string },
    'unauthorized: the claim sub of the token is not a non-empty string',
  ],
  [
    'a beginning that is no time',
    { nbf: 'soon' as unknown as number },
    'unauthorized: the claim nbf of the token has the wrong form',
  ],
  ['a NUL', { name: 'a\0b' }, 'unauthorized: a claim of the token contains a character that cannot be stored'],
  [
    'a NUL in a name',
    { app: { 'a\0b': 1 } },
    'unauthorized: a claim of the token contains a character that cannot be stored',
  ],
  [
    'half a character',
    { sub: 'a\ud800b' },
    'unauthorized: a claim of the token contains a character that cannot be stored',
  ],
])('I5: refused: a token with %s', async (_name, claims, said) => {
  const authenticator = bySecret(STRICT);
  expect(await authenticator.authenticate({ token: await byHmac(GOOD) })).toMatchObject({ subject: 'ann' });
  expect(await refused(authenticator.authenticate({ token: await byHmac({ ...GOOD, ...claims }) }))).toBe(said);
});

test('a claim may write of characters that it does not hold', async () => {
  const claims = { ...GOOD, name: '\\u0000 and \\ud800' };
  expect(await bySecret(STRICT).authenticate({ token: await byHmac(claims) })).toMatchObject({ subject: 'ann' });
});

test('clocks may differ by the tolerance, and no more', async () => {
  const tolerating = (jwtClockTolerance: number) =>
    guarded({ ROWCAST_JWT_SECRET: SECRET }, none, { jwtClockTolerance });
  const wide = tolerating(120);
  const late = await byHmac({ exp: -100 });
  expect(await wide.authenticate({ token: late })).toMatchObject({ subject: 'ann' });
  expect(await wide.authenticate({ token: await byHmac({ nbf: Math.floor(Date.now() / 1000) + 100 }) })).toBeDefined();
  expect(await refused(tolerating(60).authenticate({ token: late }))).toMatch('token_expired');
});

test('I5: a token that is shown again is not checked again, but ends when it ends', async () => {
  const find = jest.fn(async () => Buffer.from(SECRET));
  const tokens = new Tokens({
    keys: { algorithms: ['HS256'], find },
    audience: undefined,
    issuer: undefined,
    clockTolerance: 0,
    roleClaim: 'role',
    logger,
  });
  const token = await byHmac({ exp: 2 });
  const first = await tokens.verify(token);
  expect(await tokens.verify(token)).toBe(first);
  expect(find).toHaveBeenCalledTimes(1);
  const ended = () => refused(tokens.verify(token)).catch(() => null);
  expect(await until(ended, { what: 'the token to end' })).toBe('token_expired: The token has expired.');
  expect(Date.now()).toBeGreaterThanOrEqual(first.expiresAt ?? 0);
  const endless = await tokens.verify(await byHmac({ exp: 1e300 }));
  expect(new Date(endless.expiresAt ?? 0).getTime()).toBe(8.64e15);
});

test.each([rsa, ec, ed])('a public key takes the tokens of its own kind alone: $algorithm', async (key) => {
  const authenticator = guarded({ ROWCAST_JWT_PUBLIC_KEY: key.pem });
  expect(await authenticator.authenticate({ token: await key.sign() })).toMatchObject({ subject: 'ann' });
  const no = `unauthorized: the token is not signed with ${key.algorithm}`;
  const others = [rsa, ec, ed].filter((other) => other !== key);
  for (const other of others) expect(await refused(authenticator.authenticate({ token: await other.sign() }))).toBe(no);
  // Key confusion: the public key, which everybody has, used as if it were a secret.
  for (const secret of [key.pem, key.pem.trim()]) {
    const forged = await signWith(Buffer.from(secret), { alg: 'HS256', kid: key.kid })();
    expect(await refused(authenticator.authenticate({ token: forged }))).toBe(no);
  }
});

test('I5: what is no good token is refused, and the answer does not repeat it', async () => {
  const authenticator = guarded({ ROWCAST_JWT_PUBLIC_KEY: rsa.pem });
  const good = await rsa.sign();
  const [header = '', payload = '', signature = ''] = good.split('.');
  const forged = `${header}.${Buffer.from('{"sub":"bob","exp":9999999999}').toString('base64url')}.${signature}`;
  const none = new UnsecuredJWT({ sub: 'ann' }).setExpirationTime('1h').encode();
  const cases: [string, string][] = [
    [await otherRsa.sign(), 'unauthorized: the signature of the token is not valid'],
    [forged, 'unauthorized: the signature of the token is not valid'],
    [`${header}.${payload}.`, 'unauthorized: the signature of the token is not valid'],
    [none, 'unauthorized: the token is not signed with RS256'],
    ['', 'unauthorized: the token is not a JWT'],
    ['garbage', 'unauthorized: the token is not a JWT'],
    ['a.b.c', 'unauthorized: the token is not a JWT'],
    ['a.b.c.d.e', 'unauthorized: the token is not a JWT'],
    [await rsa.sign({}, { crit: ['b64'], b64: false }).catch(() => 'a.b.c'), 'unauthorized: the token is not a JWT'],
    [`${good}${'x'.repeat(16 * 1024)}`, 'unauthorized: the token is longer than 16384 characters'],
    ['x'.repeat(1_000_000), 'unauthorized: the token is longer than 16384 characters'],
  ];
  for (const [token, said] of cases) {
    // Also of a token that is shown beside, nothing is taken for nobody.
    for (const env of [{}, { ROWCAST_ANONYMOUS: 'on' }]) {
      const asked = guarded({ ROWCAST_JWT_PUBLIC_KEY: rsa.pem, ...env }).authenticate({ token });
      expect(await refused(asked)).toBe(said);
    }
    expect(await refused(authenticator.authenticate({ token }))).not.toContain(token.slice(0, 40) || ' .');
  }
  expect(await refused(bySecret().authenticate({ token: good }))).toBe(
    'unauthorized: the token is not signed with HS256',
  );
});

test('without token or ticket: nobody, or the role anon where that is admitted', async () => {
  expect(await refused(bySecret().authenticate({}))).toBe('unauthorized: this gateway requires a token');
  const open = bySecret({ ROWCAST_ANONYMOUS: 'on' });
  expect(await open.authenticate({})).toEqual({
    subject: '',
    role: 'anon',
    claims: '{"role":"anon"}',
    expiresAt: null,
  });
  expect(await refused(open.authenticate({ ticket: 'x' }))).toMatch('unauthorized: the ticket');
});

test('a ticket goes before a token, and ends with the token that it was given for', async () => {
  const ann = { subject: 'ann', role: 'authenticated', claims: '{"sub":"ann"}' } as const;
  const holding = (expiresAt: number | null) =>
    guarded({ ROWCAST_JWT_SECRET: SECRET }, { ...none, redeem: async () => ({ ...ann, expiresAt }) });
  const token = await byHmac({ sub: 'bob' });
  expect(await holding(null).authenticate({ token, ticket: 'x' })).toMatchObject({ subject: 'ann' });
  expect(await refused(holding(Date.now() - 1).authenticate({ ticket: 'x' }))).toMatch('token_expired');
  expect(await refused(bySecret().authenticate({ token, ticket: 'used' }))).toMatch('unauthorized: the ticket');
});

test('without a key everybody on this machine is a service', async () => {
  const local = guarded({});
  const everybody = { subject: 'local', role: 'service_role', expiresAt: null };
  for (const shown of [{}, { token: 'x' }, { ticket: 'x' }]) {
    expect(await local.authenticate(shown)).toMatchObject(everybody);
  }
});

const spki = (options: object, type: 'rsa' | 'ec' | 'ed25519' | 'ed448') => {
  const generate = generateKeyPairSync as unknown as (
    type: string,
    options: object,
  ) => { publicKey: string; privateKey: string };
  return generate(type, {
    ...options,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
};

test('a key that cannot be used is a fault at the start, in words, and without the key', () => {
  const fault = (pem: string) => faults({ ROWCAST_JWT_PUBLIC_KEY: pem });
  const kind = 'ROWCAST_JWT_PUBLIC_KEY: is a key of another kind than RSA of 2048 bits or more, EC P-256 or Ed25519';
  expect(fault(spki({ modulusLength: 1024 }, 'rsa').publicKey)).toBe(kind);
  expect(fault(spki({ namedCurve: 'secp384r1' }, 'ec').publicKey)).toBe(kind);
  expect(fault(spki({}, 'ed448').publicKey)).toBe(kind);
  expect(fault(spki({}, 'ed25519').privateKey)).toBe(
    'ROWCAST_JWT_PUBLIC_KEY: must begin with -----BEGIN PUBLIC KEY-----',
  );
  expect(fault('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----')).toMatch('is not a public key');
  expect(fault(rsa.pem)).toBe('');
  expect(faults({ ROWCAST_JWT_SECRET: rsa.pem })).toMatch('ROWCAST_JWT_SECRET: is a PEM key');
});

test('keys come from one place, and over a safe way', () => {
  const jwks = (url: string) => faults({ ROWCAST_JWT_JWKS_URL: url });
  expect(jwks('https://id.example/keys')).toBe('');
  expect(jwks('http://127.0.0.1:9/keys')).toBe('');
  expect(jwks('http://id.example/keys')).toBe('ROWCAST_JWT_JWKS_URL: must be https, or a loopback address');
  expect(jwks('file:///keys')).toMatch('ROWCAST_JWT_JWKS_URL');
  const two = { ROWCAST_JWT_SECRET: SECRET, ROWCAST_JWT_PUBLIC_KEY: rsa.pem };
  expect(faults(two)).toMatch('ROWCAST_JWT_SECRET, ROWCAST_JWT_PUBLIC_KEY: set one of them');
  for (const env of [{ ROWCAST_JWT_PUBLIC_KEY: rsa.pem }, { ROWCAST_JWT_JWKS_URL: 'https://id.example/' }]) {
    expect(needsToken(readConfig({ ...env, ROWCAST_HOST: '0.0.0.0' }))).toBe(true);
  }
  expect(needsToken(readConfig({}))).toBe(false);
  expect(faults({ ROWCAST_JWT_AUDIENCE: 'a,,b' })).toMatch('ROWCAST_JWT_AUDIENCE: must be a list');
});
