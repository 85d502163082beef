import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { createClient } from '../../../client/node.js';
import { missingPackages, packageFolder, type Server } from '../against/peer.js';
import { rowcast } from '../against/rowcast.js';
import { socketIo, socketIoPostgres } from '../against/socket-io.js';
import { plainWs } from '../against/ws.js';
import { type Database, insert, startDatabase } from '../harness/database.js';
import { atEnd } from '../harness/ends.js';
import { quantile } from '../harness/figures.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';
import { serverIn, startServers } from '../harness/servers.js';

const PEERS = [rowcast, plainWs, socketIo, socketIoPostgres];
const LISTEN = 'bare LISTEN';
const ROWS_PER_SECOND = 50;
const SHAPE = '50 rows/s';
/** Rows before those that count. */
const WARM_UP = 10;

type Ring = () => void;

/** Each opens a subscriber, calls `ring` with each row, and returns what closes it. */
const SUBSCRIBERS: Readonly<Record<string, (server: Server, ring: Ring) => Promise<Ring>>> = {
  async Rowcast({ load: { port } }, ring) {
    const client = createClient({ url: `http://127.0.0.1:${port}` });
    await new Promise<void>((live) => {
      client.subscribe('attached:a', { onEvent: ring, onState: (state) => state === 'live' && live() });
    });
    return () => client.close();
  },
  async 'plain ws'({ load: { port } }, ring) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    await new Promise((open) => socket.once('open', open));
    socket.on('message', (data) => {
      JSON.parse(String(data));
      ring();
    });
    return () => socket.terminate();
  },
  'Socket.IO': socketIoSubscriber,
  'Socket.IO, Postgres adapter': socketIoSubscriber,
};

interface SocketIoClient {
  on(event: string, listener: () => void): void;
  close(): void;
}

async function socketIoSubscriber({ load: { port } }: Server, ring: Ring): Promise<Ring> {
  const { io } = createRequire(import.meta.url)(packageFolder('socket.io-client')) as {
    io: (url: string, options: object) => SocketIoClient;
  };
  const socket = io(`http://127.0.0.1:${port}`, { transports: ['websocket'] });
  await new Promise<void>((open) => socket.on('connect', open));
  socket.on('row', ring);
  return () => socket.close();
}

async function bareListen(database: Database, ring: Ring): Promise<Ring> {
  const listener = await database.connect();
  listener.on('notification', ({ payload = '' }) => {
    JSON.parse(payload);
    ring();
  });
  await listener.query('LISTEN rows');
  return () => void listener.end();
}

export const latency: Scenario = {
  name: 'B1',
  title: 'Latency, one subscriber',
  about: `${ROWS_PER_SECOND} rows a second, one at a time: from COMMIT being sent to the callback of the subscriber. Writer and subscribers are one
process with one clock, each server is another. The subscriber is the client library of each; the one that listens gets the row in the
payload of a NOTIFY, and so do the servers other than Rowcast.`,
  seconds: 3,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: [LISTEN, ...PEERS.map(({ name }) => name)] }],
  columns: [
    { figure: 'p50', title: 'p50 ms', digits: 2 },
    { figure: 'p95', title: 'p95 ms', digits: 2 },
    { figure: 'p99', title: 'p99 ms', digits: 2 },
    { figure: 'afterAnswer', title: "p50 ms after the writer's answer", digits: 2 },
  ],
  chart: 'p50',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    const servers = await startServers(run, database, PEERS);
    const why = missingPackages('socket.io-client');
    if (why !== null) for (const { name } of [socketIo, socketIoPostgres]) run.leaveOut(name, why);
    return async ({ system, seconds }) => {
      let ring = (_at: number) => {};
      const rung = () => ring(performance.now());
      const server = system === LISTEN ? undefined : serverIn(servers, system);
      server?.attend(true);
      const close = server ? await SUBSCRIBERS[system]?.(server, rung) : await bareListen(database, rung);
      atEnd(close ?? (() => {}));
      await delay(200); // for those that answer nothing when they have begun to listen
      const query = insert(server?.table ?? 'notify');
      const row = async (number: number) => {
        const arrived = new Promise<number>((resolve) => {
          ring = resolve;
        });
        await writer.query('BEGIN');
        await writer.query({ ...query, values: ['a', number, 1] });
        const sent = performance.now();
        const answered = writer.query('COMMIT').then(() => performance.now());
        const seen = await arrived;
        return { sinceSent: seen - sent, sinceAnswer: seen - (await answered) };
      };
      for (let k = 0; k < WARM_UP; k++) await row(k);
      const read = meter({ server: server?.cpu ?? (() => 0), feed: server?.feed ?? (() => 0), postgres: database.cpu });
      const samples: Awaited<ReturnType<typeof row>>[] = [];
      const began = performance.now();
      for (let k = 0; k < seconds * ROWS_PER_SECOND; k++) {
        samples.push(await row(k));
        await delay(Math.max(0, began + ((k + 1) * 1000) / ROWS_PER_SECOND - performance.now()));
      }
      const { cores } = read();
      close?.();
      server?.attend(false);
      const sinceSent = samples.map((sample) => sample.sinceSent);
      const figures = {
        p50: quantile(sinceSent, 0.5),
        p95: quantile(sinceSent, 0.95),
        p99: quantile(sinceSent, 0.99),
        afterAnswer: quantile(
          samples.map((sample) => sample.sinceAnswer),
          0.5,
        ),
      };
      return { figures, cores };
    };
  },
  musts: (results) => {
    const p50 = (system: string) => results.median(system, SHAPE, 'p50');
    const toListen = (figure: string) => results.ratio(['Rowcast', SHAPE], [LISTEN, SHAPE], figure);
    const toWs = p50('Rowcast') - p50('plain ws');
    return [
      { figure: 'p50 against a bare LISTEN', value: toListen('p50'), floor: 2.5, aim: 1.8, better: 'less' },
      { figure: 'p50 over plain ws fed by LISTEN, ms', value: toWs, floor: 0.7, aim: 0.4, better: 'less' },
      { figure: 'p99 against a bare LISTEN', value: toListen('p99'), floor: 3, aim: 3, better: 'less' },
    ];
  },
};
