import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Carrier } from '../../server/engine/carrier.js';
import { openCarrier } from '../../server/engine/carriers/open.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type EngineDatabase, engineDatabase, value } from '../support/engine.js';

let database: EngineDatabase;
const carriers: Carrier[] = [];
const place = { name: 'worker', slots: new Map([['a', 1]]), carry: async () => {}, run: async () => null };

/** It has not swept yet. */
async function open(): Promise<Carrier> {
  const carrier = await openCarrier(database.url, makeLogger('silent'));
  carriers.push(carrier);
  return carrier;
}

beforeAll(async () => {
  database = await engineDatabase();
  await (await (await open()).consume(place)).stop(); // makes the tables
});
afterAll(async () => {
  for (const carrier of carriers) await carrier.close();
  await database.drop();
});

const old = (count: number) =>
  database.client.query(
    `INSERT INTO dbos.workflow_status (workflow_uuid, name, status, application_name, created_at, updated_at)
     SELECT 'old ' || i, 'rowcast task', 'SUCCESS', 'rowcast', t, t
       FROM generate_series(1, $1::int) i, (SELECT (extract(epoch FROM now() - interval '2 days') * 1000)::bigint AS t) x`,
    [count],
  );
const left = () => value(database.client, 'SELECT count(*)::int FROM dbos.workflow_status');

test('workflows that are over are removed as fast as tasks are sent', async () => {
  await old(2_500);
  const carrier = await open();
  for (let i = 0; i < 3; i++) await carrier.send([]);
  expect(await left()).toBe(0);
});

test('what was sent has been sent, also when what is over cannot be removed', async () => {
  await old(1);
  await database.client.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
    CREATE TRIGGER refuse BEFORE DELETE ON dbos.workflow_status EXECUTE FUNCTION refuse()`);
  await (await open()).send([]);
  expect(await left()).toBe(1);
});

test.each(['application_versions', 'queues'])('a worker whose %s cannot be written may start again', async (table) => {
  await database.client.query(`ALTER TABLE dbos.${table} ADD CONSTRAINT no CHECK (false) NOT VALID`);
  const carrier = await open();
  await expect(carrier.consume(place)).rejects.toThrow();
  await database.client.query(`ALTER TABLE dbos.${table} DROP CONSTRAINT no`);
  await (await carrier.consume(place)).stop();
});
