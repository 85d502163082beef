import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { openEventStream } from '../support/event-stream.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { signWith } from '../support/issuer.js';
import { ask, pollAddress } from '../support/poll.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
const sign = signWith(new TextEncoder().encode(SECRET), { alg: 'HS256' });

let database: TestDatabase;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  const writer = await connectWriter(database.url);
  await writer.query('CREATE FUNCTION anybody(text) RETURNS boolean LANGUAGE sql RETURN true');
  await writer.query(`SELECT rowcast.guard('message', 'public.anybody')`);
  await writer.end();
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => database?.drop());

/** Every request comes from an address of its own, so that no limit of addresses is met. */
async function gatewayWith(settings: Record<string, string>): Promise<string> {
  const trust = { ROWCAST_JWT_SECRET: SECRET, ROWCAST_TRUST_PROXY: '1', ROWCAST_ANONYMOUS: 'on' };
  const gateway = await startTestGateway(database.url, { ...NO_RATES, ...trust, ...settings });
  ends.push(() => gateway.stop());
  return gateway.url;
}

let addresses = 0;
function showing(token?: string): Record<string, string> {
  addresses += 1;
  const from = { 'x-forwarded-for': `10.0.${addresses >> 8}.${addresses & 255}` };
  return token === undefined ? from : { ...from, authorization: `Bearer ${token}` };
}

/** How each way in answers a user who asks for one more: null where it lets the user in. */
const WAYS: Record<string, (url: string, token?: string) => Promise<Refused | null>> = {
  websocket: async (url, token) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws`, { headers: showing(token) });
    ends.push(() => socket.terminate());
    const frames: (Refused & { type: string })[] = [];
    socket.on('message', (data) => frames.push(JSON.parse(String(data)) as Refused & { type: string }));
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.on('open', () => socket.send('{"type":"connect","id":0,"protocol":1}'));
    const frame = await until(() => frames[0], { what: 'an answer to connect' });
    if (frame.type === 'connected') return null;
    expect(await closed).toBe(CLOSE[frame.code]);
    return frame;
  },
  sse: async (url, token) => {
    const stream = await openEventStream(`${url}/v1/sse?channel=message:a`, { headers: showing(token) });
    ends.push(() => stream.close());
    const frame = await until(() => stream.frames[0], { what: 'a frame' });
    if (frame.type === 'connected') return null;
    await stream.ended;
    // An `EventSource` comes back, and not before it was told to.
    expect(stream.text()).toMatch(new RegExp(`^retry: ${frame.retryAfter}$`, 'm'));
    return { code: frame.code ?? '', retryAfter: Number(frame.retryAfter) };
  },
  poll: async (url, token) => {
    const subscriptions = async () =>
      Number(/^rowcast_subscriptions (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1]);
    const before = await subscriptions();
    let answer: Response | undefined;
    fetch(pollAddress(url, [['message:a', 'now']], 20), { headers: showing(token), signal: ending() }).then(
      (response) => {
        answer = response;
      },
      () => {},
    );
    const waits = async () => (await subscriptions()) > before;
    await until(async () => answer !== undefined || (await waits()), { what: 'a poll that waits, or its refusal' });
    return answer === undefined ? null : refusedBy(answer);
  },
};

const CLOSE: Record<string, number> = { too_many_connections: 4005, rate_limited: 4006 };

interface Refused {
  readonly code: string;
  /** In milliseconds. */
  readonly retryAfter: number;
}

/** Aborts what still waits at the end of the test. */
function ending(): AbortSignal {
  const controller = new AbortController();
  ends.push(() => controller.abort());
  return controller.signal;
}

async function refusedBy(response: Response): Promise<Refused | null> {
  const { error } = (await response.json()) as { error?: { code: string } };
  if (error === undefined) return null;
  expect(response.status).toBe(error.code === 'rate_limited' ? 429 : 503);
  const seconds = response.headers.get('retry-after') ?? '';
  expect(seconds).toMatch(/^[1-9]\d*$/);
  return { code: error.code, retryAfter: 1000 * Number(seconds) };
}

test.each(Object.keys(WAYS))('I6: a user has so many connections, from wherever, and by %s no more', async (way) => {
  const url = await gatewayWith({ ROWCAST_USER_CONNECTIONS: '3' });
  const ann = await sign({ sub: 'ann' });
  const enter = (by: string, token?: string) => WAYS[by]?.(url, token);
  for (const each of Object.keys(WAYS)) expect(await enter(each, ann)).toBeNull();
  // Another token, and another address, but the same user.
  const refused = await enter(way, await sign({ sub: 'ann', exp: 500 }));
  expect(refused).toMatchObject({ code: 'too_many_connections', retryAfter: expect.any(Number) });
  // Nobody else is kept out, and those who are no users have no such limit.
  expect(await enter(way, await sign({ sub: 'bob' }))).toBeNull();
  for (const token of [await sign({ sub: 'ann', role: 'service_role' }), undefined]) {
    for (let index = 0; index < 4; index += 1) expect(await enter('websocket', token)).toBeNull();
  }
  // The first that was let in leaves: there is room for one.
  const [first] = ends.splice(1, 1);
  await first?.();
  await until(async () => (await enter('websocket', ann)) === null, { what: 'the place that was left' });
});

test('requests of a user are held to one rate, whichever they are and wherever they come from', async () => {
  const url = await gatewayWith({ ROWCAST_USER_RATE: '5' });
  const ann = await sign({ sub: 'ann' });
  const body = JSON.stringify({ session: 'none', commands: [{ type: 'ping', id: 1 }] });
  const requests: [string, RequestInit][] = [
    ['/v1/poll?channel=message:a&wait=0', {}],
    ['/v1/poll?wait=0', { method: 'POST', body: '[{"type":"connect","id":0,"protocol":1},{"type":"ping","id":1}]' }],
    ['/v1/commands', { method: 'POST', body }],
    ['/v1/tickets', { method: 'POST' }],
    ['/v1/channels', {}],
    ['/v1/streams/message/a', {}],
    ['/api/agents/executions?ids=00000000-0000-4000-8000-000000000000', {}],
  ];
  const flood = async (token?: string) => {
    const asked = Array.from({ length: 6 }, () => requests).flat();
    const began = performance.now();
    const answers = await Promise.all(
      asked.map(async ([path, init]) => {
        const { status, headers, text } = await ask(`${url}${path}`, { ...init, headers: showing(token) });
        const limited = status === 429 || text.includes('"rate_limited"');
        if (status === 429) expect(headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
        const inFrame = /"retryAfter":(\d+)/.exec(text)?.[1];
        return { path, limited, wait: Number(inFrame ?? 1000 * Number(headers.get('retry-after'))) };
      }),
    );
    const allowed = 10 + (5 * (performance.now() - began)) / 1000;
    return { answers, allowed, passed: answers.filter(({ limited }) => !limited).length };
  };
  const { answers, allowed, passed } = await flood(ann);
  expect(passed).toBeGreaterThanOrEqual(10);
  expect(passed).toBeLessThanOrEqual(Math.ceil(allowed));
  const limited = new Set(answers.filter((answer) => answer.limited).map(({ path }) => path));
  expect([...limited].sort()).toEqual(requests.map(([path]) => path).sort());
  // Each of them hears a turn of its own: 32 of them, 0.2 s apart.
  for (const [path] of requests) {
    const waits = answers.filter((answer) => answer.path === path && answer.limited).map(({ wait }) => wait);
    expect(Math.max(...waits)).toBeGreaterThan(1_000);
  }
  const bob = await flood(await sign({ sub: 'bob' }));
  expect(bob.passed).toBeGreaterThanOrEqual(10); // a rate of his own
  const service = await flood(await sign({ sub: 'ann', role: 'service_role' }));
  expect(service.passed).toBe(service.answers.length);
});

test('I6: the polls of a user that was sent too much wait for their turn, and those of others do not', async () => {
  const writer = await connectWriter(database.url);
  await writer.query(
    `INSERT INTO rowcast.messages (key, event_type, data) SELECT 'large', 'x', to_jsonb(repeat('x', 2097152)) FROM generate_series(1, 2)`,
  );
  await writer.end();
  const url = await gatewayWith({});
  const eve = await sign({ sub: 'eve' });
  const poll = async (token: string) => {
    const { frames } = await ask(pollAddress(url, [['message:large', 'start']], 0), { headers: showing(token) });
    return frames.some(({ type }) => type === 'events');
  };
  const began = performance.now();
  // Each answer holds one row of 2 MiB; 32 MiB may come at once, and 8 MiB a second after that.
  const several = async () => {
    for (let polls = 0; polls < 7; polls += 1) expect(await poll(eve)).toBe(true);
  };
  const answered = Promise.all([several(), several(), several(), several()]);
  expect(await poll(await sign({ sub: 'bob' }))).toBe(true);
  await answered;
  expect(performance.now() - began).toBeGreaterThan(2_000);
});
