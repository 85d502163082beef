import { describe, expect, test } from '@jest/globals';
import { tokenReader } from '../../server/http/credentials.js';
import { type OriginPolicy, originPolicy, type RequestOrigin } from '../../server/network/origins.js';
import { ConfigError, readConfig } from '../../server/settings/config.js';

const APP = 'https://app.example.com';
const KEY = { ROWCAST_JWT_SECRET: 's'.repeat(32) };

describe('who may ask', () => {
  const admitting = (policy: OriginPolicy) => (asker: RequestOrigin) => originPolicy(policy)(asker) === null;
  const listed = admitting({ origins: [APP, 'http://[::1]:5173'], local: false, cookie: false });

  test.each([
    [APP, true],
    [undefined, true], // a program
    ['http://[::1]:5173', true],
    ['https://gateway.example.com', true], // its own address
    ['https://gateway.example.com:8443', false],
    ['http://app.example.com', false],
    ['https://app.example.com:8443', false],
    ['https://app.example.com.stranger.example', false],
    ['https://strangerapp.example.com', false],
    ['https://sub.app.example.com', false],
    ['https://APP.example.com', false], // no browser writes it so
    [`${APP}, ${APP}`, false],
    ['null', false], // a page in a sandbox, which anybody can make
    ['', false],
    ['file://', false],
  ])('I5: with a list, a page of %s: %s', (origin, expected) => {
    expect(listed({ host: 'gateway.example.com', origin })).toBe(expected);
  });

  test('I5: where there are cookies, the list alone counts: TLS of the own address is not seen from here', () => {
    const strict = admitting({ origins: [APP], local: false, cookie: true });
    expect(strict({ host: 'gateway.example.com', origin: 'http://gateway.example.com' })).toBe(false);
    expect(strict({ host: 'gateway.example.com', origin: APP })).toBe(true);
    expect(strict({ host: 'gateway.example.com' })).toBe(true);
  });

  test('without a list, the token that a page shows decides', () => {
    const open = admitting({ origins: '*', local: false, cookie: false });
    for (const origin of [APP, 'null', undefined]) expect(open({ host: 'x', origin })).toBe(true);
  });

  test.each([
    ['localhost:4400', undefined, true],
    ['127.0.0.1:4400', 'http://localhost:5173', true],
    ['[::1]:4400', 'http://[::1]', true],
    [undefined, undefined, true],
    // The name of a stranger was made to lead to this machine: to its own page this is its own address.
    ['stranger.example:4400', 'http://stranger.example:4400', false],
    ['stranger.example', undefined, false],
    ['localhost:4400', 'https://stranger.example', false],
    ['localhost:4400', 'http://127.0.0.1.stranger.example', false],
    ['localhost:4400', 'null', false],
    ['localhost@stranger.example', undefined, false],
  ])('I5: without a key, host %s and origin %s: %s', (host, origin, expected) => {
    expect(admitting({ origins: [APP], local: true, cookie: false })({ host, origin })).toBe(expected);
  });

  const local = originPolicy({ origins: '*', local: true, cookie: false });

  test.each([
    { 'x-forwarded-for': '203.0.113.9' },
    { 'x-forwarded-for': '203.0.113.9, 127.0.0.1' },
    { 'x-forwarded-for': '127.0.0.1, 10.0.0.7:5000' },
    { 'x-forwarded-for': '2001:db8::1' },
    { 'x-forwarded-for': 'unknown' },
    { forwarded: 'for=203.0.113.9' },
    { forwarded: 'for=127.0.0.1;proto=https, FOR = "[2001:db8::1]:4711"' },
    { forwarded: 'proto=https;for=_hidden' },
    { forwarded: 'for=203.0.113.9', 'x-forwarded-for': '127.0.0.1' },
  ])('I5: without a key, whom a proxy brings from elsewhere is refused, and told why: %j', (headers) => {
    const refusal = local({ host: '127.0.0.1:4400', ...headers });
    expect(refusal).toMatchObject({ code: 'forbidden_origin', message: expect.stringContaining('without a key') });
    for (const origins of ['*' as const, [APP]]) {
      expect(originPolicy({ origins, local: false, cookie: false })({ host: 'x', ...headers })).toBeNull();
    }
  });

  test.each([
    { 'x-forwarded-for': '127.0.0.1' },
    { 'x-forwarded-for': '::1, ::ffff:127.0.0.1' },
    { 'x-forwarded-for': '' },
    { forwarded: 'for="[::1]:4711";by=10.0.0.7;host=localhost' },
    { forwarded: 'proto=https' },
  ])('without a key, a server that develops on this machine may bring its browser: %j', (headers) => {
    expect(local({ host: 'localhost:5173', origin: 'http://localhost:5173', ...headers })).toBeNull();
  });
});

describe('settings', () => {
  const read = (env: Record<string, string>) => {
    try {
      return readConfig({ ...KEY, ...env }).origins;
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
  };

  test('origins are a list, or all', () => {
    expect(read({})).toBe('*');
    expect(read({ ROWCAST_ORIGINS: `${APP} , http://localhost:5173,capacitor://localhost` })).toEqual([
      APP,
      'http://localhost:5173',
      'capacitor://localhost',
    ]);
  });

  test.each([
    'app.example.com',
    'https://app.example.com/',
    'https://app.example.com:443',
    'https://App.example.com',
    'https://*.example.com',
    'https://user@app.example.com',
    `${APP},*`,
    `${APP},`,
    'null',
  ])('%s is refused: no browser writes an origin so, or it would be too many', (text) => {
    expect(read({ ROWCAST_ORIGINS: text })).toContain('is not an origin: write each as https://app.example.com');
  });

  test('I5: a cookie needs a list of origins', () => {
    expect(read({ ROWCAST_COOKIE: 'session' })).toMatch(/^ROWCAST_COOKIE: .* list the origins of yours/);
    expect(read({ ROWCAST_COOKIE: 'session', ROWCAST_ORIGINS: '*' })).toMatch(/^ROWCAST_COOKIE: /);
    expect(read({ ROWCAST_COOKIE: '__Host-session', ROWCAST_ORIGINS: APP })).toEqual([APP]);
    expect(read({ ROWCAST_COOKIE: 'a=b', ROWCAST_ORIGINS: APP })).toMatch(/name of a cookie/);
  });
});

describe('the token of a request', () => {
  const tokenOf = tokenReader('session');

  test.each([
    [{ authorization: 'Bearer a.b.c' }, 'a.b.c'],
    [{ authorization: 'bearer   a.b.c' }, 'a.b.c'],
    [{ authorization: 'Bearer' }, ''], // shown and bad: never anonymous, and no reason to look further
    [{ authorization: 'Bearer', cookie: 'session=c' }, ''],
    [{ authorization: 'Bearer a', cookie: 'session=c' }, 'a'],
    [{ authorization: 'Basic eDp5', cookie: 'session=c' }, 'c'], // of a proxy in front
    [{ authorization: 'Bearerx a' }, undefined],
    [{ cookie: 'other=o; session=c; session=d' }, 'c'],
    [{ cookie: 'session="c"' }, '"c"'],
    [{ cookie: 'session=' }, ''],
    [{ cookie: 'xsession=c' }, undefined],
    [{ cookie: 'session=c', origin: APP, 'sec-fetch-site': 'cross-site' }, 'c'], // it was admitted before
    [{ cookie: 'session=c', 'sec-fetch-site': 'same-origin' }, 'c'],
    [{ cookie: 'session=c', 'sec-fetch-site': 'none' }, 'c'],
    // An image, a script or a link on somebody's page: it has no origin, and brings the cookie along.
    [{ cookie: 'session=c', 'sec-fetch-site': 'cross-site' }, undefined],
    [{ cookie: 'session=c', 'sec-fetch-site': 'same-site' }, undefined],
    [{}, undefined],
  ])('I5: %j shows %s', (headers, expected) => {
    expect(tokenOf({ headers })).toBe(expected);
  });

  test('a cookie has no meaning unless it is set which', () => {
    expect(tokenReader(undefined)({ headers: { cookie: 'session=c; undefined=c' } })).toBeUndefined();
  });
});
