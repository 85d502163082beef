import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { agentRuns, type Step } from '../support/agent-runs.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { follow, seqs } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { connectWriter, newExecution, newVenture } from '../support/writer.js';

let database: TestDatabase;
let gateway: Gateway;
let reader: pg.Client;
let way: Awaited<ReturnType<typeof cuttableWay>> | null = null;

beforeAll(async () => {
  database = await createDatabase();
  gateway = await startTestGateway(database.url);
  reader = await connectWriter(database.url);
});
afterEach(() => way?.close());
afterAll(async () => {
  await reader.end();
  await gateway.stop();
  await database.drop();
});

/** A way to the gateway that can be cut: every connection through it is reset. */
async function cuttableWay(): Promise<{ url: string; cut(): void; close(): void }> {
  const target = new URL(gateway.url);
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const onward = connect(Number(target.port), target.hostname);
    open.add(socket);
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        open.delete(socket);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut() {
      for (const socket of open) socket.resetAndDestroy();
    },
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

async function write(execution: string, steps: readonly Step[]): Promise<void> {
  const writer = await connectWriter(database.url);
  await writer.query(`UPDATE agent_executions SET status = 'running' WHERE execution_id = $1`, [execution]);
  for (const { message, context } of steps) {
    await writer.query('INSERT INTO agent_execution_logs (execution_id, message, context) VALUES ($1, $2, $3)', [
      execution,
      message,
      JSON.stringify(context),
    ]);
  }
  await writer.query(`UPDATE agent_executions SET status = 'completed' WHERE execution_id = $1`, [execution]);
  await writer.end();
}

/** The rows of a channel as the table has them, in the form in which events carry them. */
async function tableRows(table: string, key: string, value: string): Promise<unknown[]> {
  await reader.query(`SET timezone = 'UTC'`);
  const { rows } = await reader.query<{ row: unknown }>(
    `SELECT to_jsonb(t) - 'seq' - 'tx' AS row FROM ${table} t WHERE ${key} = $1 ORDER BY seq`,
    [value],
  );
  return rows.map(({ row }) => row);
}

test.each([1, 2, 3])(
  'I1 I2 I3: agent runs written all at once reach every subscriber whole, in order, equal to the table (round %i)',
  async () => {
    const runs = agentRuns();
    const venture = await newVenture(reader);
    const executions: string[] = [];
    for (const _ of runs) executions.push(await newExecution(reader, venture));
    const cuttable = await cuttableWay();
    way = cuttable;
    const steady = testClient({ url: gateway.url });
    const late = testClient({ url: gateway.url });
    let losses = 0;
    let connected = false;
    const cutOff = testClient({
      url: cuttable.url,
      onState: (state) => {
        if (connected && state !== 'connected') losses += 1;
        connected = state === 'connected';
      },
    });
    const fromStart = executions.map((execution) => follow(steady, `execution:${execution}`));
    const audit = follow(steady, `venture:${venture}`);
    const cut = executions.map((execution) => follow(cutOff, `execution:${execution}`));
    await Promise.all([...fromStart, ...cut].map(({ live }) => live()));

    const written = Promise.all(runs.map((steps, index) => write(executions[index] ?? '', steps)));
    const total = runs.reduce((sum, steps) => sum + steps.length + 2, 0);
    const arrived = () => fromStart.reduce((sum, { events }) => sum + events.length, 0);
    await until(() => arrived() > total / 2, { what: 'half of the events' });
    const joined = executions.map((execution) => follow(late, `execution:${execution}`));
    for (let round = 1; round <= 5; round++) {
      await until(() => cutOff.state === 'connected', { what: 'the cut client to be connected' });
      const before = losses;
      // On a lower rung it is connected also between two requests, when there is nothing to cut but an idle socket.
      const noticed = () => {
        if (losses === before) cuttable.cut();
        return losses > before;
      };
      await until(noticed, { what: 'the cut client to notice' });
    }
    await written;

    for (const [index, execution] of executions.entries()) {
      const rows = await tableRows('agent_execution_logs', 'execution_id', execution);
      expect(rows.length).toBe((runs[index]?.length ?? 0) + 2);
      for (const { events, count } of [fromStart[index], joined[index], cut[index]].flatMap((one) => one ?? [])) {
        await count(rows.length);
        expect(events.map(({ seq }) => seq)).toEqual(seqs(1, rows.length));
        expect(events.map(({ row }) => row)).toEqual(rows);
      }
    }
    const audited = await tableRows('execution_audit', 'venture_id', venture);
    await audit.count(audited.length);
    expect(audited.length).toBe(3 * executions.length);
    expect(audit.events.map(({ row }) => row)).toEqual(audited);
  },
  60_000,
);
