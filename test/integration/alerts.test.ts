import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import pg from 'pg';
import { Progresses } from '../../server/executions/reads/progress.js';
import { ofExecutions } from '../../server/executions/schema.js';
import { Alerts } from '../../server/executions/service/alerts.js';
import { HealthTicker, SLOT } from '../../server/executions/service/health-ticker.js';
import { Webhook } from '../../server/executions/service/webhook.js';
import { makeLogger } from '../../server/ground/logger.js';
import { SERVICE } from '../../server/ports/principal.js';
import { principalDatabase } from '../../server/postgres/principal-database.js';
import { createExecution, createVenture } from '../support/api.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';

const KEY = Buffer.alloc(32, 7);
const SECRET = `whsec_${KEY.toString('base64')}`;
const PATH = '/hook/of-the-operator';

/** What the receiver was sent. */
interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

let database: TestDatabase;
let writer: pg.Pool;
let venture: string;
let receiver: Server;
let received: Received[] = [];
let lines: string[] = [];
let answer = 204;
let slot = 0;
const gateways: HealthTicker[] = [];

beforeAll(async () => {
  receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      received.push({ headers: request.headers, body });
      response.writeHead(answer, { Location: '/elsewhere' }).end();
    });
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}${PATH}`;
  database = await createDatabase();
  writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
  venture = await createVenture(writer, 'ann');
  for (let gateway = 0; gateway < 2; gateway += 1) {
    const own = ofExecutions(principalDatabase(writer, SERVICE, 'health'), 'public');
    const logger = makeLogger('info', (line) => lines.push(line));
    const alerts = new Alerts({ database: own, webhook: new Webhook({ url, secret: SECRET }), logger });
    gateways.push(new HealthTicker({ database: own, progresses: new Progresses(), alerts, logger }));
  }
});
beforeEach(() => {
  received = [];
  lines = [];
  answer = 204;
});
afterAll(async () => {
  receiver.closeAllConnections();
  receiver.close();
  await writer.end();
  await database.drop();
});

/** The next tick of both gateways at once. */
async function tick(): Promise<void> {
  slot += 1;
  await Promise.all(gateways.map((gateway) => gateway.tick(slot * SLOT)));
}

/** The messages about an execution, whose signatures are right. */
function about(execution: string) {
  return received.flatMap(({ headers, body }) => {
    const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signature } = headers;
    const expected = createHmac('sha256', KEY).update(`${id}.${time}.${body}`).digest('base64');
    expect(signature).toBe(`v1,${expected}`);
    expect(Math.abs(Number(time) * 1000 - Date.now())).toBeLessThan(60_000);
    const { type, timestamp, data } = JSON.parse(body);
    expect(new Date(timestamp).toISOString()).toBe(timestamp);
    return data.execution_id === execution ? [{ id, type, data }] : [];
  });
}

/** An execution that wrote an event each second, and its last one ten minutes ago. */
async function quietExecution(): Promise<string> {
  const id = await createExecution(writer, venture);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, message) SELECT $1, 'a line' FROM generate_series(1, 8)`,
    [id],
  );
  await writer.query(
    `UPDATE agent_execution_logs SET created_at = now() - interval '10 minutes' + seq * interval '1 second'
      WHERE execution_id = $1`,
    [id],
  );
  return id;
}

const write = (id: string) =>
  writer.query(`INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'again')`, [id]);

test('of two gateways one says that an execution is quiet, once, and one that it is over; then comes another episode', async () => {
  const id = await quietExecution();
  await tick();
  await tick();
  const data = { rule: 'quiet', execution_id: id, venture_id: venture, episode: 1, threshold: 60_000 };
  const firing = { ...data, value: expect.any(Number), began_at: expect.any(String), ended_at: null };
  expect(about(id)).toEqual([{ id: `${id}_quiet_1_firing`, type: 'alert.firing', data: firing }]);
  expect(about(id)[0]?.data.value).toBeGreaterThan(9 * 60_000);

  received = [];
  await write(id);
  await tick();
  await tick();
  const resolved = { ...firing, ended_at: expect.any(String) };
  expect(about(id)).toEqual([{ id: `${id}_quiet_1_resolved`, type: 'alert.resolved', data: resolved }]);

  received = [];
  await writer.query(
    `UPDATE agent_execution_logs SET created_at = created_at - interval '1 hour' WHERE execution_id = $1`,
    [id],
  );
  await tick();
  expect(about(id).map((message) => message.id)).toEqual([`${id}_quiet_2_firing`]);
  // An execution that has ended is not quiet.
  await writer.query(`UPDATE agent_executions SET status = 'completed' WHERE execution_id = $1`, [id]);
  await tick();
  expect(about(id).map((message) => message.type)).toEqual(['alert.firing', 'alert.resolved']);
});

test('failed attempts break two rules: the rate of errors, and the health', async () => {
  const id = await createExecution(writer, venture);
  await writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, message, context)
     SELECT $1, 'task-failed', 'a step', jsonb_build_object('step_id', step::text) FROM generate_series(1, 6) step`,
    [id],
  );
  await tick();
  const rules = about(id).map(({ type, data: { rule, value, threshold } }) => ({ type, rule, value, threshold }));
  expect(rules.sort((a, b) => (a.rule < b.rule ? -1 : 1))).toEqual([
    { type: 'alert.firing', rule: 'errors', value: 1, threshold: 0.2 },
    { type: 'alert.firing', rule: 'health', value: 25, threshold: 50 },
  ]);
});

test('each of many failed executions is told once, with the two gateways sending at once', async () => {
  const { rows } = await writer.query<{ id: string }>(
    `INSERT INTO agent_executions (venture_id, status) SELECT $1, 'failed' FROM generate_series(1, 25)
     RETURNING execution_id AS id`,
    [venture],
  );
  await tick();
  await tick();
  const ids = received.map(({ headers }) => String(headers['webhook-id'])).sort();
  expect(ids).toEqual(rows.map(({ id }) => `${id}_failed_1_firing`).sort());
});

const due = (id: string) => writer.query('UPDATE execution_alerts SET due_at = now() WHERE execution_id = $1', [id]);

test('a message that is not delivered is sent again with the same id, at most eight times, and no log says where', async () => {
  const id = await createExecution(writer, venture, 'failed');
  answer = 307; // a redirect leads where the operator did not say
  await tick();
  await tick();
  expect(about(id)).toHaveLength(1);
  for (let attempt = 2; attempt <= 10; attempt += 1) {
    answer = 500;
    await due(id);
    await tick();
  }
  expect(new Set(about(id).map((message) => message.id))).toEqual(new Set([`${id}_failed_1_firing`]));
  expect(received).toHaveLength(8);
  const problems = lines.map((line) => JSON.parse(line)).filter(({ alert }) => alert !== undefined);
  expect(problems.map(({ problem, attempts }) => `${attempts}: ${problem}`)).toEqual([
    '1: status 307',
    ...[2, 3, 4, 5, 6, 7, 8].map((attempt) => `${attempt}: status 500`),
  ]);
  for (const secret of [SECRET, SECRET.slice(6), PATH]) expect(lines.join()).not.toContain(secret);
});

test('what was over before it could be delivered is told in order: that it began, and that it is over', async () => {
  const id = await quietExecution();
  answer = 503;
  await tick();
  await write(id);
  await tick();
  answer = 200;
  received = [];
  await due(id);
  await tick();
  expect(about(id).map((message) => message.type)).toEqual(['alert.firing', 'alert.resolved']);
});
