import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { type HttpServer, makeServer } from '../../server/http/server.js';
import { until } from '../support/until.js';

/** In milliseconds; what is answered in time has far less to wait for. */
const TIMEOUT = 10_000;
const LARGE = 50_000_000;

let http: HttpServer;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  http.server.close();
});

async function start(listener: RequestListener): Promise<void> {
  http = makeServer(express().use(listener), TIMEOUT);
  http.server.listen(0, '127.0.0.1');
  await once(http.server, 'listening');
}

interface Peer {
  readonly socket: Socket;
  /** Bytes that have come, and as text. */
  bytes(): number;
  text(): string;
}

async function dial(): Promise<Peer> {
  const { port } = http.server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  sockets.push(socket);
  let [bytes, text] = [0, ''];
  socket.on('data', (data) => {
    bytes += data.length;
    if (text.length < 10_000) text += data.toString('latin1');
  });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return { socket, bytes: () => bytes, text: () => text };
}

const POST = (path: string) => `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`;
const answersIn = (text: string) => text.match(/answer \/\d/g);

test('requests that came before the stop are answered in their order; one that comes later is not done', async () => {
  const asked = new Map<string | undefined, ServerResponse>();
  await start(({ url }: IncomingMessage, response) => asked.set(url, response));
  const { socket, text } = await dial();
  socket.write(`${POST('/1')}${POST('/2')}`);
  await until(() => asked.size === 2, { what: 'both requests' });
  const stopped = http.stop(TIMEOUT);
  socket.write(POST('/late'));
  for (const [url, response] of asked) response.end(`answer ${url}`);
  await stopped;
  await until(() => socket.readableEnded, { what: 'the end' });
  expect([answersIn(text()), [...asked.keys()]]).toEqual([
    ['answer /1', 'answer /2'],
    ['/1', '/2'],
  ]);
});

test('an answer that is on its way arrives whole', async () => {
  await start((_request, response) => response.end(Buffer.alloc(LARGE)));
  const { socket, bytes } = await dial();
  socket.once('data', () => socket.pause());
  socket.write(POST('/'));
  await until(() => socket.isPaused(), { what: 'the beginning of the answer' });
  const stopped = http.stop(TIMEOUT);
  socket.resume();
  await stopped;
  await until(() => socket.readableEnded, { what: 'the end' });
  expect(bytes()).toBeGreaterThan(LARGE);
});

test('a client that does not leave, or does not read, is not waited for longer than said', async () => {
  await start((_request, response) => response.end(Buffer.alloc(LARGE)));
  const [unread, declined] = [await dial(), await dial()];
  for (const { socket } of [unread, declined]) socket.once('data', () => socket.pause());
  unread.socket.write(POST('/'));
  declined.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
  await until(() => unread.socket.isPaused() && declined.socket.isPaused(), { what: 'both answers' });
  let stopped = false;
  void http.stop(100).then(() => {
    stopped = true;
  });
  await until(() => stopped, { what: 'the stop', deadlineMs: 3_000 });
});

test('a connection whose upgrade was declined ends after the answer', async () => {
  await start((_request, response) => response.end('answer /1'));
  const { socket, text } = await dial();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
  await until(() => socket.readableEnded, { what: 'the end of the answer' });
  expect(answersIn(text())).toEqual(['answer /1']);
  const connections = () => new Promise((resolve) => http.server.getConnections((_error, count) => resolve(count)));
  await until(async () => (await connections()) === 0, { what: 'the end of the connection', deadlineMs: 5_000 });
});
