import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { WebSocket } from 'ws';
import { errors } from '../../client/protocol/index.js';
import type { Gateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { openEventStream } from '../support/event-stream.js';
import { signWith } from '../support/issuer.js';
import { startLoggingGateway } from '../support/log-lines.js';
import { talk } from '../support/raw-http.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECRET = 'a secret of at least thirty-two characters';
const APP = 'https://app.example.com';
const sign = signWith(new TextEncoder().encode(SECRET), { alg: 'HS256' });

let database: TestDatabase;
let writer: pg.Client;
let gateway: Gateway;
/** Every line that was logged, at the level that logs most, before anything is hidden in it. */
const lines: string[] = [];

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  const settings = { ROWCAST_JWT_SECRET: SECRET, ROWCAST_ORIGINS: APP, ROWCAST_COOKIE: 'session' };
  gateway = await startLoggingGateway(database.url, settings, lines);
});
afterAll(async () => {
  await gateway?.stop();
  await writer?.end();
  await database?.drop();
});
beforeEach(() => {
  lines.length = 0;
});

/** What an answer must never hold: SQL, names in the database, a place in the code, the message of a foreign error. */
const INSIDE =
  /\b(select|insert|update|delete|from|where|relation|column|policy|function|syntax|permission|invalid byte)\b|\bat .*:\d+|\.[jt]s\b|node_modules|rowcast\.[a-z]|public\.|secret detail|zod|pg_|Error:/i;

/** Every code is of the one table, and the texts say nothing of the inside. Gives the codes. */
function examine(answer: string): string[] {
  const codes = [...answer.matchAll(/"code":"([^"]*)"/g)].map(([, code = '']) => code);
  for (const code of codes) expect(Object.keys(errors)).toContain(code);
  const said = [...answer.matchAll(/"(?:message|detail|title)":"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => text);
  for (const text of said) expect(text).not.toMatch(INSIDE);
  return codes;
}

const CONNECT = { type: 'connect', id: 0, protocol: 1 };

/** Asks for a channel by every way in: the code of each answer, or what it was if it was none of those. */
async function readers(channel: string, token: string): Promise<string[]> {
  const headers = { authorization: `Bearer ${token}` };
  const commands = JSON.stringify([CONNECT, { type: 'subscribe', id: 1, channel, since: 'start' }]);
  const query = new URLSearchParams({ channel, since: 'start' });
  const asked = async (path: string, init: RequestInit = {}) =>
    (await fetch(`${gateway.url}${path}`, { headers, ...init })).text();
  const answers = await Promise.all([
    asked(`/v1/poll?wait=0&${query}`),
    asked('/v1/poll?wait=0', { method: 'POST', body: commands }),
    asked(`/v1/streams/${channel.replace(':', '/')}?offset=-1`),
    stream(`/v1/sse?${query}`, { headers }),
    stream('/v1/sse', { headers, body: commands }),
    socket(token, channel),
  ]);
  return answers.map((answer) => {
    const [code] = examine(answer);
    return code ?? answer.slice(0, 200);
  });
}

async function stream(path: string, options: { headers: Record<string, string>; body?: string }): Promise<string> {
  const answer = await openEventStream(`${gateway.url}${path}`, options);
  const told = () => answer.frames.some(({ type }) => ['events', 'error', 'stalled'].includes(type));
  if (answer.status === 200) await until(told, { what: `an end of ${path}` });
  else await answer.ended;
  answer.close();
  return answer.text();
}

function socket(token: string, channel: string): Promise<string> {
  const webSocket = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`);
  return new Promise((resolve, reject) => {
    webSocket.on('open', () => webSocket.send(JSON.stringify({ ...CONNECT, token })));
    webSocket.on('message', (data) => {
      const text = String(data);
      if (text.includes('"connected"')) {
        webSocket.send(JSON.stringify({ type: 'subscribe', id: 1, channel, since: 'start' }));
      } else if (/"type":"(events|error)"/.test(text)) {
        webSocket.terminate();
        resolve(text);
      }
    });
    webSocket.on('error', reject);
  });
}

describe('what breaks on the inside is not shown outside', () => {
  beforeAll(async () => {
    await writer.query(`
      CREATE TABLE gizmos (id text NOT NULL, note text);
      SELECT rowcast.attach('gizmos', 'id');
      INSERT INTO gizmos VALUES ('a', 'x'), ('b', 'x');
      CREATE FUNCTION explode(text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'secret detail: SELECT * FROM gizmos'; END $$;
      CREATE FUNCTION anybody(text) RETURNS boolean LANGUAGE sql RETURN true`);
  });

  test('a guard that raises', async () => {
    await writer.query(`SELECT rowcast.guard('gizmos', 'public.explode')`);
    for (const code of await readers('gizmos:a', await sign())) expect(code).toBe('policy_failed');
    expect(lines.join('')).toContain('secret detail'); // for the operator
    const headers = { authorization: `Bearer ${await sign()}` };
    for (const path of ['/v1/poll?wait=0&channel=gizmos:a', '/v1/streams/gizmos/a?offset=-1']) {
      const answer = await fetch(`${gateway.url}${path}`, { headers });
      // Nobody knows until when; soon is worth a try.
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    }
  });

  test('a policy that raises', async () => {
    await writer.query(`
      SELECT rowcast.guard('gizmos', NULL);
      GRANT SELECT ON gizmos TO authenticated;
      ALTER TABLE gizmos ENABLE ROW LEVEL SECURITY;
      CREATE POLICY exploding ON gizmos TO authenticated USING (explode(id))`);
    for (const code of await readers('gizmos:b', await sign())) expect(code).toBe('policy_failed');
  });

  test('claims that PostgreSQL cannot read', async () => {
    for (const sub of ['a\u0000b', '\ud800', '"; DROP TABLE gizmos; --', `'`, '\\']) {
      const codes = await readers('message:a', await sign({ sub }));
      for (const code of codes) expect(['internal', 'forbidden', 'unauthorized']).toContain(code);
    }
  });

  test('names that are none', async () => {
    await writer.query(`SELECT rowcast.guard('message', 'public.anybody')`);
    const token = await sign({ role: 'service_role' });
    for (const channel of [
      'message:\u0000',
      `message:${'x'.repeat(600)}`,
      `x'; DROP TABLE gizmos; --:1`,
      'execution:1',
      '__proto__:x',
    ]) {
      for (const code of await readers(channel, token)) {
        expect([channel, code]).toEqual([
          channel,
          expect.stringMatching(/^(invalid_channel|unknown_channel|invalid_frame|not_found)$/),
        ]);
      }
    }
  });

  test('a right that was taken away, and a table that was dropped', async () => {
    const token = await sign({ role: 'service_role' });
    await writer.query('INSERT INTO gizmos SELECT $1, n::text FROM generate_series(1, 3000) n', ['c']);
    await writer.query('REVOKE SELECT ON gizmos FROM rowcast_gateway');
    await readers('gizmos:c', token);
    await writer.query('DROP TABLE gizmos');
    // The stream could not be read before; the next attempt to read it finds that it is gone.
    const known = async () => {
      const codes = await readers('gizmos:d', token);
      return codes.includes('stream_unreadable') ? null : codes;
    };
    const codes = await until(known, { deadlineMs: 20_000, what: 'the end of the stream' });
    expect(codes).toEqual(Array(6).fill('unknown_channel'));
  });

  test('what the HTTP side asks for, of tables that are not as they were', async () => {
    const headers = { authorization: `Bearer ${await sign({ role: 'service_role' })}` };
    const nobody = '00000000-0000-4000-8000-000000000000';
    await writer.query(`
      REVOKE SELECT ON rowcast.channels FROM rowcast_gateway;
      ALTER TABLE agent_executions RENAME COLUMN status TO state`);
    // The list leaves out the streams that cannot be read, here all of them.
    const listed = await fetch(`${gateway.url}/v1/channels`, { headers });
    expect([listed.status, await listed.json()]).toEqual([200, { channels: [] }]);
    for (const path of [`/api/agents/executions?ids=${nobody}`, `/api/agents/executions/${nobody}`]) {
      const answer = await fetch(`${gateway.url}${path}`, { headers });
      expect([path, answer.status]).toEqual([path, 500]);
      expect(examine(await answer.text())).toEqual(['internal']);
    }
    expect(lines.join('')).toContain('permission denied');
    await writer.query(`
      GRANT SELECT ON rowcast.channels TO rowcast_gateway;
      ALTER TABLE agent_executions RENAME COLUMN state TO status`);
  });

  test('a connection goes on after an expectation that is refused', async () => {
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    let read = '';
    socket.on('data', (data) => {
      read += data;
    });
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\n\r\n');
    await until(() => read.startsWith('HTTP/1.1 417'), { what: 'the refusal' });
    // Not in the turn of the first request, after which a body that is left unread is no longer waited for.
    await fetch(`${gateway.url}/healthz`);
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => read.includes('HTTP/1.1 200'), { what: 'the next response' });
    socket.destroy();
  });

  test('addresses and bodies that cannot be read', async () => {
    const authorization = `Authorization: Bearer ${await sign({ role: 'service_role' })}\r\n`;
    const head = `HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${authorization}`;
    const deep = '['.repeat(100_000);
    const post = (path: string, body: string) =>
      `POST ${path} ${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
    const requests: [number, string][] = [
      [404, `GET /% ${head}\r\n`],
      [404, `GET //x/../.. ${head}\r\n`],
      [400, `GET /v1/streams/%E0%A4%A/x ${head}\r\n`],
      [400, `GET /v1/streams/message/%ff ${head}\r\n`],
      [200, `GET /v1/poll?wait=0&${'channel=message:x&'.repeat(1_700)} ${head}\r\n`],
      [400, `GET /v1/poll?${'a=1&'.repeat(7_000)} ${head}\r\n`],
      [400, `GET /v1/poll?channel[__proto__]=x ${head}\r\n`],
      [400, post('/v1/poll', deep)],
      [400, post('/v1/poll', `{"a":${'{"a":'.repeat(1_000)}1${'}'.repeat(1_001)}`)],
      [400, post('/v1/poll', '\ufeff[')],
      [400, post('/v1/commands', '{"session":"x","commands":"SELECT 1"}')],
      [413, post('/v1/commands', ' '.repeat(300_000))],
      [400, `GET /api/agents/executions/%E0%A4%A ${head}\r\n`],
      [400, `GET /api/agents/executions?${'ids=x&'.repeat(5_000)} ${head}\r\n`],
      [400, `GET /api/agents/executions/x'; ${head}\r\n`],
    ];
    for (const [status, request] of requests) {
      const answer = await talk(gateway.url, request);
      expect([request.slice(0, 60), answer.slice(0, 12)]).toEqual([request.slice(0, 60), `HTTP/1.1 ${status}`]);
      expect(answer).not.toMatch(/\bat .*:\d+:\d+|node_modules|<html|<pre/i);
      examine(answer);
    }
  });
});

test('I5: whatever shows a secret, and whatever becomes of it, no line of the log has it', async () => {
  const token = await sign({ role: 'service_role', sub: 'ann' });
  const bad = `${token.slice(0, -6)}AAAAAA`;
  const expired = await sign({ exp: -60 });
  const secrets = [token, bad, expired];
  await writer.query(`SELECT rowcast.publish('message:a', 'note')`);
  for (const shown of [...secrets]) {
    const ways: [string, RequestInit][] = [
      ['/v1/poll?channel=message:a&wait=0', { headers: { authorization: `Bearer ${shown}` } }],
      ['/v1/poll?channel=message:a&wait=0', { headers: { cookie: `session=${shown}`, origin: APP } }],
      ['/v1/poll?channel=message:a&wait=0', { headers: { cookie: `session=${shown}`, origin: 'https://x.example' } }],
      [`/v1/poll?channel=message:a&token=${shown}`, {}],
      [`/v1/sse?channel=message:a&ticket=${shown.slice(-43)}`, {}],
      ['/v1/poll?wait=0', { method: 'POST', body: JSON.stringify([{ ...CONNECT, token: shown }]) }],
      ['/v1/poll?wait=0', { method: 'POST', body: `{"token":"${shown}` }],
      ['/v1/commands', { method: 'POST', body: '{}', headers: { authorization: `Bearer ${shown}` } }],
      ['/v1/tickets', { method: 'POST', headers: { authorization: `Bearer ${shown}` } }],
      ['/api/agents/executions?ids=x', { headers: { authorization: `Bearer ${shown}` } }],
      [`/api/${shown}`, { headers: { 'x-request-id': shown } }],
    ];
    for (const [path, init] of ways) {
      const text = await (await fetch(`${gateway.url}${path}`, init)).text();
      if (text.includes('"ticket"')) secrets.push((JSON.parse(text) as { ticket: string }).ticket);
      else if (init.body === undefined) examine(text);
    }
    await socket(shown, 'message:a');
  }
  expect(secrets).toHaveLength(4);
  const [ticket = ''] = secrets.slice(-1);
  for (const _ of [1, 2]) {
    const stream = await openEventStream(`${gateway.url}/v1/sse?channel=message:a&ticket=${ticket}`);
    stream.close();
  }
  const { password } = new URL(database.url);
  const logged = lines.join('');
  const held = [...secrets.map((secret) => secret.slice(-30)), SECRET, ...(password === '' ? [] : [password])];
  for (const secret of held) expect(logged).not.toContain(secret);
});

test('a secret that gets as far as the logger is hidden there, wherever it stands', async () => {
  const token = await sign();
  const logger = makeLogger('trace', (line) => lines.push(line));
  const ticket = 'q'.repeat(43);
  logger.info({ token, ticket, headers: { authorization: 'Basic eDp5', cookie: 'a=ccc' } }, `Bearer abc ${token}`);
  logger.warn(
    { err: new Error(`GET /v1/sse?channel=a&ticket=${ticket} of postgres://me:hunter2@db/app`) },
    'a request failed',
  );
  logger.child({ deep: { er: { password: 'hunter2' } } }).trace({ text: JSON.stringify({ token }) });
  const logged = lines.join('');
  for (const secret of [token, ticket, 'eDp5', 'ccc', 'abc', 'hunter2']) expect(logged).not.toContain(secret);
  expect(logged).toContain('channel=a&ticket=[hidden] of postgres://me:[hidden]@db/app'); // the rest is there
  for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
});
