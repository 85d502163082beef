import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { WebSocket } from 'ws';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { openEventStream } from '../support/event-stream.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { signWith } from '../support/issuer.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
const APP = 'https://app.example.com';
const STRANGER = 'https://stranger.example';
const sign = signWith(new TextEncoder().encode(SECRET), { alg: 'HS256' });
const KEY = { ...NO_RATES, ROWCAST_JWT_SECRET: SECRET };

let database: TestDatabase;
let writer: pg.Client;
let token: string;
/** Every page may ask, and shows a token; those of the list may; those of the list may, and the browser shows a cookie. */
let open: Gateway;
let listed: Gateway;
let cookies: Gateway;
/** Without a key. */
let local: Gateway;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  await writer.query(`SELECT rowcast.publish('message:a', 'note')`);
  token = await sign({ role: 'service_role' });
  open = await startTestGateway(database.url, KEY);
  listed = await startTestGateway(database.url, { ...KEY, ROWCAST_ORIGINS: APP });
  cookies = await startTestGateway(database.url, { ...KEY, ROWCAST_ORIGINS: APP, ROWCAST_COOKIE: 'session' });
  local = await startTestGateway(database.url, NO_RATES);
});
afterAll(async () => {
  for (const gateway of [open, listed, cookies, local]) await gateway?.stop();
  await writer?.end();
  await database?.drop();
});

const POLL = '/v1/poll?channel=message:a&since=start&wait=0';
const CONNECT = { type: 'connect', id: 0, protocol: 1 };
const SUBSCRIBE = { type: 'subscribe', id: 1, channel: 'message:a', since: 'start' };

/** One request to every door, WebSocket included: what each of them lets this asker have. */
const DOORS: Record<string, (gateway: Gateway, headers: Record<string, string>) => Promise<string>> = {
  'GET /v1/poll': (gateway, headers) => text(gateway, POLL, { headers }),
  'POST /v1/poll': (gateway, headers) =>
    text(gateway, '/v1/poll?wait=0', { method: 'POST', headers, body: JSON.stringify([CONNECT, SUBSCRIBE]) }),
  'GET /v1/sse': (gateway, headers) => stream(gateway, { headers }),
  'POST /v1/sse': (gateway, headers) => stream(gateway, { headers, body: JSON.stringify([CONNECT, SUBSCRIBE]) }),
  'GET /v1/streams': (gateway, headers) => text(gateway, '/v1/streams/message/a?offset=-1', { headers }),
  'GET /v1/ws': (gateway, headers) => socket(gateway, headers),
};

async function text({ url }: Gateway, path: string, init: RequestInit): Promise<string> {
  return (await fetch(`${url}${path}`, init)).text();
}

async function stream({ url }: Gateway, options: { headers: Record<string, string>; body?: string }): Promise<string> {
  const query = options.body === undefined ? '?channel=message:a&since=start' : '';
  const answer = await openEventStream(`${url}/v1/sse${query}`, options);
  const told = () => answer.frames.some(({ type }) => type === 'events' || type === 'error');
  if (answer.status === 200) await until(told, { what: 'an event or an error' });
  else await answer.ended;
  answer.close();
  return answer.text();
}

/** What a WebSocket hears that shows no token in its frames, or how its upgrade was refused. */
function socket({ url }: Gateway, headers: Record<string, string>, connect: object = CONNECT): Promise<string> {
  const webSocket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws`, { headers });
  return new Promise((resolve, reject) => {
    let heard = '';
    webSocket.on('open', () => webSocket.send(JSON.stringify(connect)));
    webSocket.on('message', (data) => {
      heard += data;
      if (String(data).includes('"connected"')) webSocket.send(JSON.stringify(SUBSCRIBE));
      if (String(data).includes('"events"')) webSocket.close();
    });
    webSocket.on('close', () => resolve(heard));
    webSocket.on('error', reject);
    webSocket.on('unexpected-response', (_, response) => {
      response.on('data', (data) => {
        heard += data;
      });
      response.on('end', () => resolve(heard));
    });
  });
}

const EVENT = '"event_type":"note"';
const REFUSED = '"code":"forbidden_origin"';
const UNKNOWN = '"code":"unauthorized"';

describe.each(Object.entries(DOORS))('%s', (_, ask) => {
  const bearer = () => ({ authorization: `Bearer ${token}` });
  const cookie = () => ({ cookie: `other=x; session=${token}` });

  test('I5: a page of an origin that is not listed is refused, whatever it shows', async () => {
    expect(await ask(listed, { ...bearer(), origin: STRANGER })).toContain(REFUSED);
    expect(await ask(listed, { ...bearer(), origin: 'null' })).toContain(REFUSED);
    expect(await ask(listed, { ...bearer(), origin: APP })).toContain(EVENT);
    expect(await ask(listed, { ...bearer(), origin: listed.url })).toContain(EVENT); // its own
    expect(await ask(listed, bearer())).toContain(EVENT);
    expect(await ask(open, { ...bearer(), origin: STRANGER })).toContain(EVENT);
  });

  test('I5: a cookie counts for the pages that are listed, and for no others', async () => {
    expect(await ask(cookies, { ...cookie(), origin: APP })).toContain(EVENT);
    // Cross-site WebSocket hijacking, and cross-site request forgery: the browser of a user shows the cookie for any page.
    expect(await ask(cookies, { ...cookie(), origin: STRANGER })).toContain(REFUSED);
    expect(await ask(cookies, { ...cookie(), origin: 'null' })).toContain(REFUSED);
    expect(await ask(cookies, { ...cookie(), origin: cookies.url })).toContain(REFUSED);
    expect(await ask(cookies, { ...cookie(), 'sec-fetch-site': 'cross-site' })).toContain(UNKNOWN);
    expect(await ask(cookies, { cookie: `other=${token}`, origin: APP })).toContain(UNKNOWN);
    expect(await ask(open, cookie())).toContain(UNKNOWN);
  });

  test('I5: without a key, whom a proxy brings from another machine is refused, and told why', async () => {
    expect(await ask(local, { 'x-forwarded-for': '127.0.0.1, ::1' })).toContain(EVENT);
    for (const name of ['x-forwarded-for', 'forwarded']) {
      const answer = await ask(local, { [name]: name === 'forwarded' ? 'for=203.0.113.9' : '203.0.113.9' });
      expect(answer).toContain(REFUSED);
      expect(answer).toContain('a proxy forwards this from another machine');
    }
  });

  test('I5: a token that is shown counts before a cookie, also if it is a bad one', async () => {
    expect(await ask(cookies, { ...cookie(), authorization: 'Bearer x' })).toContain(UNKNOWN);
    expect(await ask(cookies, { cookie: 'session=x', ...bearer() })).toContain(EVENT);
  });
});

test.each([
  ['POST', '/v1/tickets', 201],
  ['POST', '/v1/commands', 404], // there is no such session
  ['GET', '/v1/channels', 200],
  ['GET', '/api/agents/executions?ids=00000000-0000-4000-8000-000000000000', 200],
  ['POST', '/api/agents/executions', 400], // no body
])('I5: %s %s is for the pages that are listed, by token or by cookie', async (method, path, admitted) => {
  const body = path === '/v1/commands' ? '{"session":"none","commands":[{"type":"ping","id":1}]}' : undefined;
  const ask = async (gateway: Gateway, headers: Record<string, string>) => {
    const answer = await fetch(`${gateway.url}${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
    return [answer.status, (await answer.text()).match(/"code":"([^"]*)"/)?.[1]];
  };
  const bearer = { authorization: `Bearer ${token}` };
  const cookie = { cookie: `session=${token}` };
  for (const headers of [{ ...bearer, origin: APP }, { ...cookie, origin: APP }, cookie]) {
    expect((await ask(cookies, headers))[0]).toBe(admitted);
  }
  for (const headers of [bearer, cookie]) {
    expect(await ask(cookies, { ...headers, origin: STRANGER })).toEqual([403, 'forbidden_origin']);
  }
  expect(await ask(local, { 'x-forwarded-for': '203.0.113.9' })).toEqual([403, 'forbidden_origin']);
  expect(await ask(cookies, { ...cookie, 'sec-fetch-site': 'cross-site' })).toEqual([401, 'unauthorized']);
});

test('I5: the token of a frame counts before what the upgrade showed', async () => {
  const authorization = `Bearer ${token}`;
  expect(await socket(open, { authorization }, { ...CONNECT, token: 'x' })).toContain(UNKNOWN);
  expect(await socket(open, { authorization: 'Bearer x' }, { ...CONNECT, token })).toContain(EVENT);
});

test.each([
  ['GET', POLL],
  ['GET', '/v1/sse?channel=message:a'],
  ['GET', '/v1/streams/message/a?offset=-1'],
  ['GET', '/v1/channels'],
  ['POST', '/v1/tickets'],
  ['GET', '/api/agents/executions?ids=00000000-0000-4000-8000-000000000000'],
])('%s %s: a 401 says how to show a token, and whether one was shown that is bad', async (method, path) => {
  const ask = async (headers: Record<string, string>) => {
    const answer = await fetch(`${cookies.url}${path}`, { method, headers });
    await answer.text();
    return [answer.status, answer.headers.get('www-authenticate')];
  };
  expect(await ask({})).toEqual([401, 'Bearer']);
  expect(await ask({ authorization: 'Bearer x' })).toEqual([401, 'Bearer error="invalid_token"']);
  expect(await ask({ cookie: 'session=x' })).toEqual([401, 'Bearer error="invalid_token"']);
  expect((await ask({ origin: STRANGER }))[1]).toBeNull();
});

describe('CORS', () => {
  const preflight = ({ url }: Gateway, path: string, method: string, asked: string, origin: string) =>
    fetch(`${url}${path}`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': asked },
    });
  const HEADERS = 'authorization,content-type,idempotency-key,if-none-match,last-event-id,x-request-id';

  test.each([
    ['/v1/poll', 'GET'],
    ['/v1/poll', 'POST'],
    ['/v1/commands', 'POST'],
    ['/v1/tickets', 'POST'],
    ['/v1/streams/message/a', 'HEAD'],
    ['/api/agents/executions', 'POST'],
    ['/api/agents/executions/x/logs', 'PATCH'],
  ])('a page that is admitted may ask for %s by %s with each header that means something', async (path, method) => {
    const all = await preflight(open, path, method, HEADERS, STRANGER);
    expect(all.status).toBe(204);
    expect(all.headers.get('access-control-allow-origin')).toBe('*');
    expect(all.headers.get('access-control-allow-credentials')).toBeNull();
    const one = await preflight(cookies, path, method, HEADERS, APP);
    expect(one.status).toBe(204);
    expect(one.headers.get('access-control-allow-origin')).toBe(APP);
    expect(one.headers.get('access-control-allow-credentials')).toBe('true');
    expect(one.headers.get('vary')).toContain('Origin');
    for (const { headers } of [all, one]) {
      expect(headers.get('access-control-allow-methods')?.split(',')).toContain(method);
      expect(headers.get('access-control-allow-methods')).not.toMatch(/PUT/); // which nothing has
      expect(headers.get('access-control-allow-headers')?.split(',')).toEqual(HEADERS.split(','));
    }
    expect((await preflight(cookies, path, method, HEADERS, STRANGER)).status).toBe(403);
  });

  test('an answer names the page that may read it, and what it may read besides the body', async () => {
    const ask = (gateway: Gateway, origin: string) =>
      fetch(`${gateway.url}${POLL}`, { headers: { origin, authorization: `Bearer ${token}` } });
    const one = await ask(listed, APP);
    expect(one.headers.get('access-control-allow-origin')).toBe(APP);
    expect(one.headers.get('access-control-allow-credentials')).toBeNull(); // no cookies: none are wanted
    expect(one.headers.get('vary')).toContain('Origin'); // or a cache would give it to another page
    const exposed = one.headers.get('access-control-expose-headers')?.split(',');
    const read = ['ETag', 'Location', 'Retry-After', 'WWW-Authenticate', 'X-Request-Id'];
    expect(exposed).toEqual(expect.arrayContaining(read));
    // A page that is refused may read that, and never with the cookies of the user.
    const refused = await ask(cookies, STRANGER);
    expect(refused.status).toBe(403);
    expect(refused.headers.get('access-control-allow-origin')).toBe('*');
    expect(refused.headers.get('access-control-allow-credentials')).toBeNull();
    expect(await refused.json()).toMatchObject({ error: { code: 'forbidden_origin' } });
  });
});

test('every answer tells browsers what not to do with it', async () => {
  const headers = { authorization: `Bearer ${token}` };
  const answers: [string, RequestInit][] = [
    ['/healthz', {}],
    ['/readyz', {}],
    ['/metrics', {}],
    ['/nothing', {}],
    ['/v1/channels', {}],
    [POLL, {}],
    [POLL, { headers }],
    ['/v1/sse?channel=message:a', { headers }],
    ['/v1/streams/message/a?offset=-1', { headers }],
    ['/v1/streams/message/a?offset=-1', { headers, method: 'PUT' }],
    ['/v1/poll', { method: 'POST', body: 'x' }],
    ['/v1/poll', { method: 'OPTIONS', headers: { origin: APP } }],
    ['/%', {}],
    ['/api/docs/', {}],
    ['/api/nothing', {}],
  ];
  for (const [path, init] of answers) {
    const answer = await fetch(`${open.url}${path}`, init);
    await answer.body?.cancel();
    const { 'content-security-policy': policy, ...rest } = Object.fromEntries(answer.headers);
    const shared = /^\/(v1|api)\//.test(path) ? 'cross-origin' : 'same-origin';
    expect([path, rest]).toEqual([
      path,
      expect.objectContaining({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': shared,
      }),
    ]);
    expect(policy).toMatch(/default-src 'none';.*frame-ancestors 'none'/);
    expect(rest).not.toHaveProperty('x-powered-by');
    expect(rest).not.toHaveProperty('strict-transport-security'); // of whoever has the certificate
    expect(rest).not.toHaveProperty('set-cookie');
  }
});
