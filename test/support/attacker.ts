/**
 * The attackers of support/attacks.ts, in a process of their own: node attacker.js <name> <target as JSON>. It attacks until it
 * is killed.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { WebSocket } from 'ws';
import { ask, tokenFor } from './api.js';
import type { AttackName, Target } from './attacks.js';
import { encodeFrame, TEXT } from './raw-websocket.js';

const EXECUTIONS = '/api/agents/executions';

type Attack = (target: Target) => Promise<unknown>;

/** Repeats a task, so many at once. What is refused is tried again at once: the rates of the gateway are the bound. */
async function storm(width: number, task: (turn: number) => Promise<unknown>): Promise<void> {
  let turn = 0;
  const one = async () => {
    for (;;) {
      await task(turn++).catch(() => {});
      await delay(2);
    }
  };
  await Promise.all(Array.from({ length: width }, one));
}

/** Opens a TCP connection and sends this, and something else when an answer has come. */
function open(target: Target, bytes: string | Buffer, upgrade: Buffer | null = null): Promise<Socket> {
  const { hostname, port } = new URL(target.url);
  const socket = connect({ port: Number(port), host: hostname, localAddress: '127.0.0.2' }).on('error', () => {});
  socket.write(bytes);
  socket.once('data', () => upgrade && socket.write(upgrade)).resume();
  return new Promise((resolve) => socket.once('connect', () => resolve(socket)).once('close', () => resolve(socket)));
}

const FOREIGN = () => `10.${randomBytes(1)[0]}.0.1`;
const upgradeOf = (address: string) =>
  `GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ${address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`;

const NAMES = `[{"type":"connect","id":0,"protocol":1,${Array.from({ length: 23_000 }, (_, i) => `"k${i}":0`).join(',')}}]`;
const HUGE = JSON.stringify({ message: 'x', context: Array(500_000).fill(0) });

async function steal(target: Target, path: string, token: string): Promise<void> {
  const head = `GET ${path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.1\r\nAuthorization: Bearer ${token}\r\n\r\n`;
  const socket = await open(target, head);
  socket.pause(); // it never reads the answer
}

const history: Attack = (target) =>
  storm(20, async () => {
    const headers = { 'X-Forwarded-For': '10.0.0.2' };
    const socket = new WebSocket(`${target.url.replace('http', 'ws')}/v1/ws`, { headers });
    const end = new Promise<void>((resolve) => {
      socket.on('close', () => resolve()).on('error', () => resolve());
      setTimeout(() => socket.terminate(), 400);
    });
    socket.on('open', () =>
      socket.send(JSON.stringify({ type: 'connect', id: 1, protocol: 1, token: target.tokens.vi })),
    );
    socket.once('message', () => {
      for (const [index, id] of target.cold.entries())
        socket.send(JSON.stringify({ type: 'subscribe', id: index + 2, channel: `execution:${id}`, since: 'start' }));
    });
    await end;
  });

const ATTACKS: Readonly<Record<AttackName, Attack>> = {
  'nobody: bodies to /v1/sse and /v1/poll': (target) =>
    storm(16, (turn) =>
      ask(target, turn % 2 ? '/v1/sse' : '/v1/poll', undefined, {
        method: 'POST',
        body: NAMES,
        headers: { 'X-Forwarded-For': FOREIGN() },
      }),
    ),
  'nobody: silent WebSockets': (target) => storm(4, () => open(target, upgradeOf(FOREIGN()))),
  'nobody: frames without an end': (target) => {
    const frame = encodeFrame(TEXT, Buffer.alloc(60_000), { fin: false });
    const many = Buffer.concat(Array.from({ length: 16 }, () => frame));
    return storm(2, () => open(target, upgradeOf(FOREIGN()), many));
  },
  'nobody: silent TCP connections': (target) => storm(8, () => open(target, '')),
  'a user without a right: bodies of 1 MB': (target) =>
    storm(16, () =>
      ask(target, `${EXECUTIONS}/${target.execution}/logs`, target.tokens.eve, { method: 'PATCH', body: HUGE }),
    ),
  'an editor: bodies of 1 MB': (target) =>
    storm(16, () =>
      ask(target, `${EXECUTIONS}/${target.metrics}/logs`, target.tokens.ed, { method: 'PATCH', body: HUGE }),
    ),
  'a stranger: channels without a right': (target) =>
    storm(6, async (turn) => {
      const token = await tokenFor('eve', { turn });
      await ask(target, '/v1/poll?channel=orders:1&since=now&wait=0', token);
    }),
  'a viewer: polls that are not read': (target) =>
    storm(4, () => steal(target, `/v1/poll?channel=execution:${target.large}&since=start&wait=0`, target.tokens.vi)),
  'a viewer: progress that was never folded': async (target) => {
    const writer = new pg.Pool({ connectionString: target.databaseUrl, max: 1 });
    const idOf = (turn: number) => target.cold[turn % target.cold.length] ?? '';
    // A row that is deleted raises the floor, and the state is folded again.
    const text = `DELETE FROM agent_execution_logs WHERE execution_id = $1
      AND seq = (SELECT min(seq) FROM agent_execution_logs WHERE execution_id = $1)`;
    await Promise.all([
      storm(1, async (turn) => {
        await writer.query(text, [idOf(turn)]);
        await delay(100);
      }),
      storm(8, (turn) => ask(target, `${EXECUTIONS}/${idOf(turn)}/status`, target.tokens.vi)),
    ]);
  },
  'a viewer: large lists': (target) =>
    storm(6, () => ask(target, `${EXECUTIONS}?venture_id=${target.venture}&limit=100`, target.tokens.vi)),
  'two users: snapshots with many metrics': (target) =>
    storm(12, (turn) =>
      ask(target, `${EXECUTIONS}/${target.metrics}?logs=none`, turn % 2 ? target.tokens.vi : target.tokens.ed),
    ),
  'a viewer: history again and again': history,
};

const [name, target = '{}'] = process.argv.slice(2);
process.stdout.write('attacking\n');
await ATTACKS[name as AttackName]?.(JSON.parse(target) as Target);
