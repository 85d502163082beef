/** The load client where there is no compiler for load.c: the same options, commands and answers, at several times the CPU. */
import { request } from 'node:http';
import type { Readable } from 'node:stream';
import { WebSocket } from 'ws';

const given = new Map(
  process.argv.slice(2).map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at), pair.slice(at + 1)];
  }),
);
const text = (name: string, by: string) => given.get(name) ?? by;
const number = (name: string, by: number) => Number(given.get(name) ?? by);

const [mode, path, chan, since] = [
  text('mode', 'rowcast'),
  text('path', '/v1/ws'),
  text('chan', 'ev:%d'),
  text('since', 'now'),
];
const [port, n, m, k] = [number('port', 0), number('n', 1), number('m', 1), number('k', 1)];
const [sample, inflight, reconnect] = [number('sample', 0), number('inflight', 128), number('reconnect', 0)];

const MARKER = '`'.charCodeAt(0);

interface Connection {
  readonly index: number;
  rows: number;
  answered: number;
  live: boolean;
  /** The epoch and the last seq, of a single subscription. */
  epoch: string | null;
  seq: number;
}

const all: Connection[] = [];
/** Connections that were begun, that are opening, that are live; and what has come of all. */
const seen = {
  started: 0,
  opening: 0,
  live: 0,
  rows: 0,
  frames: 0,
  bytes: 0,
  gaps: 0,
  resets: 0,
  errors: 0,
  failures: 0,
};
let latencies: number[] = [];

const nowMs = () => performance.timeOrigin + performance.now();

function count(connection: Connection, data: Buffer): void {
  let found = 0;
  for (let at = data.indexOf(MARKER); at >= 0; at = data.indexOf(MARKER, at + 1)) found++;
  seen.rows += found;
  seen.bytes += data.length;
  connection.rows += found;
  if (sample === 0 || connection.index % sample !== 0) return;
  const at = nowMs();
  for (const [, made] of data.toString().matchAll(/"t":(\d+)/g)) latencies.push(at - Number(made) / 1000);
}

function goLive(connection: Connection): void {
  if (connection.live) return;
  connection.live = true;
  seen.live++;
  seen.opening--;
}

function subscribe(connection: Connection, socket: WebSocket): void {
  for (let j = 0; j < k; j++) {
    const channel = chan.replace('%d', `${(connection.index * k + j) % m}`);
    const from = connection.epoch === null ? since : `${connection.epoch}.${connection.seq}`;
    socket.send(JSON.stringify({ type: 'subscribe', id: 2 + j, channel, since: from }));
  }
}

function rowcast(connection: Connection, socket: WebSocket, data: string): void {
  const type = /^\{"type":"(\w+)"/.exec(data)?.[1];
  const numberAfter = (name: string) => Number(new RegExp(`"${name}":(\\d+)`).exec(data)?.[1]);
  if (type === 'connected') subscribe(connection, socket);
  if (type === 'reset') seen.resets++;
  if (type === 'error' && seen.errors++ < 3) process.stderr.write(`load: ${data.slice(0, 300)}\n`);
  if (type === 'subscribed') {
    if (k === 1 && connection.epoch === null) {
      connection.epoch = /"epoch":"(\w+)"/.exec(data)?.[1] ?? null;
      connection.seq = since === 'now' ? numberAfter('head') : numberAfter('floor') - 1;
    }
    if (++connection.answered === k) goLive(connection);
  }
  if (type === 'events' && k === 1) {
    const from = numberAfter('from');
    if (from !== connection.seq + 1) seen.gaps++;
    connection.seq = from + data.split('`').length - 2;
  }
}

/** What each kind of server is told when the socket is open, and answered later. */
const GREETINGS: Readonly<Record<string, string>> = {
  rowcast: '{"type":"connect","id":1,"protocol":1}',
  nats: 'CONNECT {"verbose":false,"pedantic":false,"protocol":1}\r\nSUB ev 1\r\nPING\r\n',
};

function answer(connection: Connection, socket: WebSocket, data: string): void {
  if (mode === 'rowcast') rowcast(connection, socket, data);
  if (mode === 'nats' && data.startsWith('PING')) socket.send('PONG\r\n');
  if (mode === 'nats' && data.includes('PONG')) goLive(connection);
  if (mode !== 'sio') return;
  if (data.startsWith('0')) socket.send('40');
  if (data.startsWith('40')) goLive(connection);
  if (data === '2') socket.send('3');
}

function closed(connection: Connection): void {
  seen.failures++;
  if (connection.live) seen.live--;
  else seen.opening--;
  Object.assign(connection, { live: false, answered: 0 });
  if (reconnect > 0) setTimeout(() => open(connection), reconnect);
}

function open(connection: Connection): void {
  seen.opening++;
  const target = path.replace('%d', `${connection.index % m}`);
  if (mode === 'sse') {
    const sent = request({ host: '127.0.0.1', port, path: target, headers: { accept: 'text/event-stream' } });
    sent
      .on('error', () => closed(connection))
      .on('response', (response: Readable) => {
        goLive(connection);
        response.on('data', (data: Buffer) => count(connection, data)).on('close', () => closed(connection));
      });
    sent.end();
    return;
  }
  const socket = new WebSocket(`ws://127.0.0.1:${port}${target}`, { perMessageDeflate: false });
  socket.on('error', () => {}); // `close` follows
  socket.on('close', () => closed(connection));
  socket.on('open', () => {
    const greeting = GREETINGS[mode];
    if (greeting !== undefined) socket.send(mode === 'nats' ? Buffer.from(greeting) : greeting);
    if (mode === 'ws') goLive(connection);
  });
  socket.on('message', (data: Buffer) => {
    seen.frames++;
    count(connection, data);
    const read = !connection.live || mode === 'rowcast' || (mode !== 'ws' && data.length < 10);
    if (read) answer(connection, socket, data.toString());
  });
}

function snapshot(): object {
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (p: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;
  const each = all.map((connection) => connection.rows);
  const [fewest, most] = [Math.min(...each), Math.max(...each)];
  return { ...seen, fewest, most, p50: at(0.5), p99: at(0.99), worst: at(1) };
}

process.stdin.on('data', (letters: Buffer) => {
  for (const letter of letters.toString()) {
    if (letter === 's') process.stdout.write(`${JSON.stringify(snapshot())}\n`);
    if (letter === 'c') process.stdout.write(`${seen.rows}\n`);
    if (letter === 'r') [latencies, seen.gaps] = [[], 0];
  }
});
process.stdin.on('end', () => process.exit());

setInterval(() => {
  while (seen.started < n && seen.opening < inflight) {
    const connection = { index: seen.started++, rows: 0, answered: 0, live: false, epoch: null, seq: 0 };
    all.push(connection);
    open(connection);
  }
}, 2);
