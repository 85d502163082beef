import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Router } from 'express';
import { z } from 'zod';
import { startGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import type { Extension } from '../../server/ports/extension.js';
import { route } from '../../server/ports/route.js';
import { readConfig } from '../../server/settings/config.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow } from '../support/follow.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  await database.drop();
});

const start = (extensions: readonly Extension[]) =>
  startGateway(readConfig({ ROWCAST_PORT: '0' }), database.url, makeLogger('silent'), { extensions });

const get = async (url: string, origin?: string) => {
  const response = await fetch(url, origin === undefined ? {} : { headers: { origin } });
  return { status: response.status, headers: response.headers, body: await response.text() };
};

/** Answers in both ways, subscribes in the process, and notes what is called. */
function greeting(calls: string[]): Extension {
  const hello = route({
    method: 'get',
    path: '/greetings/:name',
    id: 'greet',
    tag: 'Greetings',
    summary: 'A greeting',
    params: z.object({ name: z.string() }),
    responses: { 200: { description: 'It.', body: z.object({ hello: z.string() }) } },
    refusals: [],
    handle: async ({ params }) => ({ status: 200, body: { hello: params.name } }),
  });
  return {
    name: 'greeting',
    exposedHeaders: ['X-Greeting'],
    api: () => ({ about: 'Greets.', tags: { Greetings: 'What is said first.' }, routes: [hello] }),
    routes({ limit }) {
      const router = Router();
      router.get('/v1/greeting', limit, (_request, response) => void response.set('X-Greeting', 'yes').send('hello'));
      return [router];
    },
    async start({ inProcess, clock }) {
      const channel = 'message:greeting';
      const principal = { subject: 'greeting', role: 'service_role', claims: '{}', expiresAt: null } as const;
      const onFrame = ({ type }: { type: string }) => void calls.push(type);
      await inProcess.subscribe({ principal, channel, since: 'now', onFrame, onEnd: (code) => void calls.push(code) });
      calls.push(`started ${typeof clock.now()}`);
    },
    stop: () => void calls.push('stopped'),
  };
}

test('a gateway serves the extensions that it is given, from before it listens until all clients are gone', async () => {
  const calls: string[] = [];
  const gateway = await start([greeting(calls)]);
  expect(calls).toContain('started number');
  expect(await get(`${gateway.url}/api/greetings/ann`)).toMatchObject({ status: 200, body: '{"hello":"ann"}' });
  const { headers, body } = await get(`${gateway.url}/v1/greeting`, gateway.url);
  expect([body, headers.get('access-control-expose-headers')]).toEqual(['hello', expect.stringMatching(/X-Greeting/)]);
  const document = JSON.parse((await get(`${gateway.url}/api/openapi.json`)).body);
  expect(Object.keys(document.paths)).toEqual(['/api/greetings/{name}']);
  expect(document.tags).toEqual([{ name: 'Greetings', description: 'What is said first.' }]);
  expect(document.info.description).toMatch(/^Greets\./);
  await gateway.stop();
  await until(() => calls.includes('shutting_down'), { what: 'the subscription of the extension to end' });
  expect(calls.filter((call) => call === 'stopped')).toHaveLength(1);
});

test('without any it serves channels, and nothing of an application', async () => {
  const gateway = await start([]);
  const client = testClient({ url: gateway.url });
  const follower = follow(client, 'message:bare');
  const writer = await connectWriter(database.url);
  try {
    await writer.query(`SELECT rowcast.publish('message:bare', 'log')`);
    await follower.count(1);
    for (const path of ['/api/agents/executions/00000000-0000-4000-8000-000000000000', '/v1/streams/message/bare']) {
      expect(await get(`${gateway.url}${path}`)).toMatchObject({ status: 404 });
    }
    expect(JSON.parse((await get(`${gateway.url}/api/openapi.json`)).body).paths).toEqual({});
  } finally {
    await client.close();
    await writer.end();
    await gateway.stop();
  }
});

test('one that cannot start is an error of the gateway, which leaves nothing open', async () => {
  const calls: string[] = [];
  const broken: Extension = { name: 'broken', start: () => Promise.reject(new Error('no licence')) };
  await expect(start([greeting(calls), broken])).rejects.toThrow('no licence');
  expect(calls.filter((call) => call === 'stopped')).toHaveLength(1);
  const writer = await connectWriter(database.url);
  const { rows } = await writer.query(
    `SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'rowcast %' AND datname = current_database()`,
  );
  await writer.end();
  expect(rows).toEqual([]);
});

test('one of which no door can be made is an error of the gateway, which leaves no timer', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const broken: Extension = {
    name: 'broken',
    api: () => {
      throw new Error('no routes');
    },
  };
  await expect(start([broken])).rejects.toThrow('no routes');
  expect(timers()).toBe(before);
});
