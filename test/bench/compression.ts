/**
 * What compression costs and saves: 1,000 WebSockets, and polls for one page of history, at a gateway that compresses and
 * at one that does not, row by row in turn. The clients inflate nothing: what is measured is the gateway.
 *
 * ROWCAST_TEST_AGENT_RUNS names a folder of recorded runs, as in test/support/agent-runs.ts.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { agentRuns } from '../support/agent-runs.js';
import { NO_RATES } from '../support/gateway.js';
import { type GatewayProcess, startGatewayProcess } from '../support/process.js';
import { encodeFrame, TEXT } from '../support/raw-websocket.js';
import { startEmbedded } from '../support/server.js';

const SOCKETS = 1_000;
const ROWS = 60;
const POLLS = 300;

/** Of /proc, in clock ticks of 10 ms. */
async function cpuSeconds({ pid }: GatewayProcess): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const [user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return (user + system) / 100;
}

/** Counts the text frames of the gateway that have come whole, and looks into none of them. */
function countFrames(socket: Socket, onFrame: () => void): void {
  let rest: Buffer = Buffer.alloc(0);
  let left = 0;
  socket.on('data', (chunk: Buffer) => {
    if (left > chunk.length) {
      left -= chunk.length;
      return;
    }
    rest = left > 0 ? chunk.subarray(left) : Buffer.concat([rest, chunk]);
    if (left > 0) onFrame();
    left = 0;
    while (rest.length >= 2) {
      const short = (rest[1] ?? 0) & 0x7f;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (rest.length < start) return;
      const length = short < 126 ? short : short === 126 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2));
      const size = start + length;
      if (rest.length < size) {
        left = size - rest.length;
        rest = Buffer.alloc(0);
        return;
      }
      rest = rest.subarray(size);
      onFrame();
    }
  });
}

class Crowd {
  readonly sockets: Socket[] = [];
  /** From the COMMIT to the last byte at each socket, in milliseconds. */
  readonly latencies: number[] = [];
  cpu = 0;
  bytes = 0;
  #sent = 0;
  #frames = 0;
  #wanted = 0;
  #arrived: () => void = () => {};

  readonly name: string;
  readonly gateway: GatewayProcess;

  constructor(name: string, gateway: GatewayProcess) {
    this.name = name;
    this.gateway = gateway;
  }

  /** `count` frames more. */
  async frames(count: number, cause: () => Promise<unknown>): Promise<void> {
    this.#wanted = this.#frames + count;
    const arrived = new Promise<void>((resolve) => {
      this.#arrived = resolve;
    });
    await cause();
    if (this.#frames < this.#wanted) await arrived;
  }

  async join(channel: string): Promise<void> {
    const { hostname, port, host } = new URL(this.gateway.url);
    const say = (frame: object) => encodeFrame(TEXT, Buffer.from(JSON.stringify(frame)));
    for (let index = 0; index < SOCKETS; index += 1) {
      const socket = connect(Number(port), hostname);
      this.sockets.push(socket);
      socket.write(
        `GET /v1/ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n',
      );
      await new Promise((resolve) => socket.once('data', resolve)); // the answer to the upgrade, which is one packet
      countFrames(socket, () => {
        this.latencies.push(performance.now() - this.#sent);
        this.#frames += 1;
        if (this.#frames === this.#wanted) this.#arrived();
      });
      await this.frames(1, async () => socket.write(say({ type: 'connect', id: 1, protocol: 1 })));
      await this.frames(1, async () => socket.write(say({ type: 'subscribe', id: 2, channel })));
    }
    this.latencies.length = 0;
  }

  /** Has a row written, and waits until every socket has it. */
  async row(write: () => Promise<unknown>): Promise<void> {
    const [cpu, bytes] = [await cpuSeconds(this.gateway), this.#read()];
    await this.frames(SOCKETS, () => {
      this.#sent = performance.now();
      return write();
    });
    this.cpu += (await cpuSeconds(this.gateway)) - cpu;
    this.bytes += this.#read() - bytes;
  }

  #read(): number {
    return this.sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  }
}

/** Bytes of the body. */
function poll(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get(
      `${url}/v1/poll?channel=message:history&since=start`,
      { headers: { 'accept-encoding': 'gzip' } },
      (response) => {
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        response.on('end', () => resolve(bytes));
      },
    ).on('error', reject);
  });
}

const percentile = (samples: readonly number[], p: number) =>
  samples.toSorted((a, b) => a - b)[Math.floor((samples.length - 1) * p)] ?? Number.NaN;

function show(what: string, unit: string, off: number, on: number): void {
  const figures = [off, on].map((value) => `${value.toFixed(value < 10 ? 2 : 0)} ${unit}`.padStart(12));
  process.stdout.write(`${what.padEnd(44)}${figures.join('')}${`x ${(on / off).toFixed(2)}`.padStart(10)}\n`);
}

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-bench-'));
const cluster = await startEmbedded({ dataDir, settings: { fsync: 'off' } });
await migrate(cluster.url, { with: ['executions'] });
const writer = new pg.Client({ connectionString: cluster.url });
await writer.connect();
const start = (compression: string) =>
  startGatewayProcess(cluster.url, { ...NO_RATES, ROWCAST_COMPRESSION: compression });
const off = new Crowd('off', await start('off'));
const on = new Crowd('on', await start('on'));
try {
  const steps = agentRuns().flat();
  const step = (index: number) => JSON.stringify(steps[index % steps.length]);
  const publish = (channel: string, index: number) =>
    writer.query('SELECT rowcast.publish($1, $2, $3)', [channel, 'step', step(index)]);
  const memory: number[] = [];
  const crowds = [off, on];
  for (const crowd of crowds) {
    const before = await crowd.gateway.memory();
    await crowd.join(`message:${crowd.name}`);
    await delay(1_000);
    memory.push((await crowd.gateway.memory()) - before);
  }
  const stride = Math.max(1, Math.floor(steps.length / ROWS));
  for (let row = 0; row < ROWS; row += 1) {
    for (const crowd of row % 2 ? crowds.toReversed() : crowds) {
      await crowd.row(() => publish(`message:${crowd.name}`, row * stride));
    }
  }
  const deliveries = SOCKETS * ROWS;
  process.stdout.write(`${SOCKETS} sockets, ${ROWS} rows, ${steps.length} different steps\n`);
  process.stdout.write(`${''.padEnd(44)}${'off'.padStart(12)}${'on'.padStart(12)}${'on/off'.padStart(10)}\n`);
  show('bytes per delivery', 'B', off.bytes / deliveries, on.bytes / deliveries);
  show('CPU of the gateway per delivery', 'us', (1e6 * off.cpu) / deliveries, (1e6 * on.cpu) / deliveries);
  for (const p of [0.5, 0.99]) {
    show(`COMMIT to a socket, p${100 * p}`, 'ms', percentile(off.latencies, p), percentile(on.latencies, p));
  }
  show('memory per idle socket', 'KB', ...(memory.map((bytes) => bytes / SOCKETS / 1024) as [number, number]));
  const [peakOff = 0, peakOn = 0] = await Promise.all(crowds.map(({ gateway }) => gateway.memory()));
  show('memory of the gateway after the rows', 'MB', peakOff / 1024 ** 2, peakOn / 1024 ** 2);

  for (let row = 0; row < 200; row += 1) await publish('message:history', row);
  const polls: { cpu: number; bytes: number; took: number }[] = [];
  for (const { gateway } of crowds) {
    await poll(gateway.url);
    const [cpu, began] = [await cpuSeconds(gateway), performance.now()];
    let bytes = 0;
    for (let request = 0; request < POLLS; request += 1) bytes += await poll(gateway.url);
    polls.push({ cpu: (await cpuSeconds(gateway)) - cpu, bytes, took: performance.now() - began });
  }
  const [one, two] = polls;
  if (one === undefined || two === undefined) throw new Error('nothing was measured');
  show('a full answer to a poll: bytes', 'B', one.bytes / POLLS, two.bytes / POLLS);
  show('a full answer to a poll: CPU', 'us', (1e6 * one.cpu) / POLLS, (1e6 * two.cpu) / POLLS);
  show('a full answer to a poll: time', 'ms', one.took / POLLS, two.took / POLLS);
} finally {
  for (const { sockets, gateway } of [off, on]) {
    for (const socket of sockets) socket.destroy();
    await gateway.stop();
  }
  await writer.end();
  await cluster.stop();
  await rm(dataDir, { recursive: true });
}
