/**
 * Attacks at their full allowed rate beside a healthy tenant, one after the other: what the tenant feels, and what the
 * gateway needs. The test in fault/attacks.test.ts and `npm run bench:attacks` run them.
 */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { WebSocket } from 'ws';
import { ask, createExecution, createVenture, JWT_SECRET, tokenFor } from './api.js';
import { type GatewayProcess, startGatewayProcess } from './process.js';
import { program } from './programs.js';
import { until } from './until.js';

/** What support/attacker.ts can do. */
export const ATTACKS = [
  'nobody: bodies to /v1/sse and /v1/poll',
  'nobody: silent WebSockets',
  'nobody: frames without an end',
  'nobody: silent TCP connections',
  'a user without a right: bodies of 1 MB',
  'an editor: bodies of 1 MB',
  'a stranger: channels without a right',
  'a viewer: polls that are not read',
  'a viewer: progress that was never folded',
  'a viewer: large lists',
  'two users: snapshots with many metrics',
  'a viewer: history again and again',
] as const;
export type AttackName = (typeof ATTACKS)[number];

const EXECUTIONS = '/api/agents/executions';

/** The attacker may use any number of addresses that a proxy reports; the tenant has one of its own. */
export const ATTACKED = { ROWCAST_JWT_SECRET: JWT_SECRET, ROWCAST_TRUST_PROXY: '1' };

/** What the healthy tenant felt in one phase, in milliseconds. */
export interface Felt {
  readonly event: number[];
  readonly status: number[];
  readonly subscribe: number[];
  /** Answers that were refusals, and connections that were lost. */
  readonly refused: string[];
}

const fresh = (): Felt => ({ event: [], status: [], subscribe: [], refused: [] });

export const percentile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) * share)] ?? Number.NaN;

/** What an attacker knows. */
export interface Target {
  readonly url: string;
  readonly databaseUrl: string;
  readonly tokens: Readonly<Record<'bo' | 'vi' | 'ed' | 'eve', string>>;
  /** Of the healthy tenant. */
  readonly execution: string;
  /** Of the attackers' venture: with many metrics, with large rows, and those with long progress. */
  readonly metrics: string;
  readonly large: string;
  readonly cold: readonly string[];
  readonly venture: string;
}

export interface World {
  readonly target: Target;
  readonly gateway: GatewayProcess;
  readonly writer: pg.Client;
}

export async function makeWorld(databaseUrl: string, writer: pg.Client): Promise<World> {
  const [own, venture] = [await createVenture(writer, 'bo'), await createVenture(writer, 'vi', 'ed')];
  const execution = await createExecution(writer, own);
  const [metrics = '', large = '', ...cold] = await Promise.all(
    Array.from({ length: 10 }, () => createExecution(writer, venture)),
  );
  await writer.query(`
    ALTER TABLE execution_metrics DISABLE TRIGGER metric_recorded;
    INSERT INTO execution_metrics (execution_id, metric_name, metric_value)
      SELECT '${metrics}', 'm' || n % 900, n FROM generate_series(1, 100000) n;
    ALTER TABLE execution_metrics ENABLE TRIGGER metric_recorded;
    INSERT INTO agent_execution_logs (execution_id, message) SELECT '${large}', repeat('x', 2000000) FROM generate_series(1, 4);
    INSERT INTO agent_executions (venture_id, metadata)
      SELECT '${venture}', jsonb_build_object('text', repeat(md5(n::text), 2000)) FROM generate_series(1, 100) n;
    CREATE TABLE orders (order_id bigint NOT NULL, customer text NOT NULL);
    SELECT rowcast.attach('orders', 'order_id');
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON orders TO authenticated;
    CREATE POLICY own ON orders FOR SELECT TO authenticated USING (customer = rowcast.subject());
    INSERT INTO orders SELECT 1, 'large' FROM generate_series(1, 20000);
    INSERT INTO agent_execution_logs (execution_id, event_type, context)
      SELECT id, 'task-assigned', jsonb_build_object('step_id', n::text)
        FROM unnest('{${cold.join()}}'::uuid[]) id, generate_series(1, 3000) n;
    ANALYZE`);
  const [bo, vi, ed, eve] = [await tokenFor('bo'), await tokenFor('vi'), await tokenFor('ed'), await tokenFor('eve')];
  const gateway = await startGatewayProcess(databaseUrl, ATTACKED);
  const tokens = { bo, vi, ed, eve };
  const target = { url: gateway.url, databaseUrl, tokens, execution, metrics, large, cold, venture };
  return { target, gateway, writer };
}

/** The healthy tenant, for so long from its first subscription on: an event each 50 ms, `/status` each 100 ms, a new subscription each 200 ms. */
export async function feel(world: World, milliseconds: number): Promise<Felt> {
  const felt = fresh();
  const { gateway, writer } = world;
  const { execution, tokens } = world.target;
  const channel = `execution:${execution}`;
  const sent = new Map<string, number>();
  const subscribed = (onEvents: (frame: { events: { message: string }[] }) => void) =>
    new Promise<WebSocket>((resolve, reject) => {
      const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/v1/ws`);
      const say = (command: object) => socket.send(JSON.stringify(command));
      socket.on('open', () => say({ type: 'connect', id: 1, protocol: 1, token: tokens.bo }));
      socket.on('message', (data) => {
        const frame = JSON.parse(String(data));
        if (frame.type === 'error') felt.refused.push(frame.code);
        if (frame.type === 'connected') say({ type: 'subscribe', id: 2, channel, since: 'now' });
        if (frame.type === 'subscribed') resolve(socket);
        if (frame.type === 'events') onEvents(frame);
      });
      socket.on('error', reject);
      socket.on('close', (code) => reject(new Error(`closed with ${code}`)));
      socket.on('unexpected-response', (_, { statusCode }) => {
        felt.refused.push(`upgrade ${statusCode}`);
        reject(new Error('refused'));
      });
    });
  const reader = await subscribed(({ events }) => {
    for (const { message } of events) {
      const at = sent.get(message);
      if (at !== undefined) felt.event.push(performance.now() - at);
      sent.delete(message);
    }
  });
  const end = AbortSignal.timeout(milliseconds);
  let over = false;
  reader.on('close', () => over || felt.refused.push('lost'));
  const loop = async (pause: number, task: () => Promise<unknown>) => {
    while (!end.aborted) {
      await task().catch((error: Error) => end.aborted || felt.refused.push(error.message));
      await delay(pause);
    }
  };
  const timed = async (into: number[], task: () => Promise<unknown>) => {
    const began = performance.now();
    await task().finally(() => into.push(performance.now() - began));
  };
  await Promise.all([
    loop(50, async () => {
      const message = randomBytes(8).toString('hex');
      sent.set(message, performance.now());
      await writer.query('INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, $2)', [
        execution,
        message,
      ]);
    }),
    loop(100, () =>
      timed(felt.status, async () => {
        const { status } = await ask(gateway, `${EXECUTIONS}/${execution}/status`, tokens.bo);
        if (status !== 200) felt.refused.push(`status ${status}`);
      }),
    ),
    loop(200, () =>
      timed(felt.subscribe, async () => {
        (await subscribed(() => {})).terminate();
      }),
    ),
  ]);
  await until(() => sent.size === 0, { deadlineMs: 1_000, what: 'the last events' }).catch(() => {});
  for (const at of sent.values()) felt.event.push(performance.now() - at);
  over = true;
  reader.terminate();
  return felt;
}

/** The time in seconds that a process has used processors. */
async function processorTime(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** `processors`: how many the gateway and the attacker used. */
interface Phase extends Felt {
  readonly memory: number;
  readonly processors: readonly number[];
}

/** Runs one attack, or none, for so many milliseconds beside the tenant. */
export async function phase(world: World, milliseconds: number, attack: AttackName | null): Promise<Phase> {
  const attacker =
    attack === null
      ? null
      : spawn(process.execPath, [program('test/support/attacker.ts'), attack, JSON.stringify(world.target)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
  try {
    if (attacker?.stdout) await once(attacker.stdout, 'data'); // it has begun
    const pids = [world.gateway.pid, attacker?.pid ?? world.gateway.pid];
    const used = () => Promise.all(pids.map(processorTime));
    const [began, before] = [performance.now(), await used()];
    const felt = await feel(world, milliseconds);
    const seconds = (performance.now() - began) / 1_000;
    const processors = (await used()).map((after, index) => (after - (before[index] ?? 0)) / seconds);
    if (attacker === null) processors.length = 1;
    return { ...felt, memory: await world.gateway.memory(), processors };
  } finally {
    attacker?.kill('SIGKILL');
  }
}
