import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { WebSocket, WebSocketServer } from 'ws';
import { textMessage } from '../../server/ground/text-message.js';
import { EventsFrame } from '../../server/ports/events-frame.js';
import { SocketTransport } from '../../server/transport/socket.js';
import { until } from '../support/until.js';

const RATE = { perSecond: 1e6, burst: 1e6 };
const LIMITS = { sendBufferBytes: 256 * 1024, maxFrameBytes: 16_384, frames: RATE, bytes: RATE };

let server = createServer();
let sockets = new WebSocketServer({ noServer: true });

afterEach(() => {
  for (const client of sockets.clients) client.terminate();
  server.close();
});

/** A transport, and everything that its client has received, in order. */
async function connect({ compression = false } = {}) {
  server = createServer().listen(0, '127.0.0.1');
  sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: compression && { serverNoContextTakeover: true },
  });
  const connected = new Promise<SocketTransport>((resolve) => {
    server.on('upgrade', (request, raw, head) =>
      sockets.handleUpgrade(request, raw, head, (socket) => {
        const transport = new SocketTransport(socket, raw, LIMITS);
        transport.known();
        resolve(transport);
      }),
    );
  });
  await until(() => server.listening, { what: 'the server' });
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const received: string[] = [];
  client.on('message', (data, isBinary) => received.push(`${isBinary ? 'binary' : 'text'} ${data}`));
  client.on('ping', () => received.push('ping'));
  client.on('close', (code, reason) => received.push(`close ${code} ${reason}`));
  const transport = await connected;
  await until(() => client.readyState === WebSocket.OPEN, { what: 'the client' });
  return { transport, client, received };
}

const frameOf = (json: string) => new EventsFrame(1, 1, json);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test('a message has the header that its length requires, and its text', () => {
  for (const length of [...range(0, 300), ...range(65_530, 65_540), 1_000_000]) {
    const json = 'x'.repeat(length);
    const { message, text } = textMessage(json);
    expect(text.toString()).toBe(json);
    const [first, second] = message;
    expect(first).toBe(0x81);
    const header = message.length - length;
    if (length < 126) expect([second, header]).toEqual([length, 2]);
    else if (length < 65_536) expect([second, message.readUInt16BE(2), header]).toEqual([126, length, 4]);
    else expect([second, message.readBigUInt64BE(2), header]).toEqual([127, BigInt(length), 10]);
  }
});

test.each([false, true])(
  'messages of all lengths arrive in order with pings and the close frame (compression: %s)',
  async (compression) => {
    const { transport, client, received } = await connect({ compression });
    const lengths = [...range(0, 130), ...range(1_020, 1_030), ...range(65_533, 65_538), 100_000, 1, 200_000, 2];
    const expected: string[] = [];
    for (const [index, length] of lengths.entries()) {
      const json = `é${'x'.repeat(length)}`;
      transport.send(frameOf(json));
      transport.send({ type: 'pong', id: index });
      expected.push(`text ${json}`, `text {"type":"pong","id":${index}}`);
      if (index % 20 === 0) {
        transport.socket.ping();
        expected.push('ping');
      }
      await until(() => transport.writable, { what: 'room in the buffer' });
    }
    transport.close(4000, 'over');
    transport.send(frameOf('"late"')); // nothing may follow the close frame
    expected.push('close 4000 over');
    await until(() => client.readyState === WebSocket.CLOSED, { what: 'the close' });
    expect(received).toEqual(expected);
  },
);

test('nothing is sent after the close frame of the client was answered', async () => {
  const { transport, client, received } = await connect();
  transport.socket.on('message', () => transport.send(frameOf('"before"')));
  client.send('x');
  client.close(1000);
  await until(() => transport.socket.readyState !== WebSocket.OPEN, { what: 'the close frame of the client' });
  transport.send(frameOf('"after"'));
  await until(() => client.readyState === WebSocket.CLOSED, { what: 'the close' });
  expect(received).toEqual(['text "before"', 'close 1000 ']);
});

test('I6: a client that does not read stops the transport at one buffer, and it goes on when the client reads', async () => {
  const { transport, client, received } = await connect();
  let drained = 0;
  transport.onDrained = () => {
    drained += 1;
  };
  client.pause();
  const frame = frameOf('x'.repeat(64 * 1024));
  let sent = 0;
  // The buffers of the kernel take some megabytes first.
  for (; transport.writable && sent < 1_000; sent += 1) transport.send(frame);
  expect(sent).toBeLessThan(1_000);
  expect(transport.socket.bufferedAmount).toBeLessThan(LIMITS.sendBufferBytes + 2 * frame.message.length);
  expect(drained).toBe(0);
  client.resume();
  await until(() => received.length === sent && drained > 0, { what: 'everything to arrive' });
  expect(transport.writable).toBe(true);
});

test('a socket that was destroyed takes messages without an error', async () => {
  const { transport, client } = await connect();
  transport.socket.terminate();
  for (let time = 0; time < 3; time++) transport.send(frameOf('"lost"'));
  await until(() => client.readyState === WebSocket.CLOSED, { what: 'the close' });
  transport.send(frameOf('"lost"'));
});

test('after the close frame there is no room for more', async () => {
  const { transport } = await connect();
  expect(transport.writable).toBe(true);
  transport.close(1000, 'over');
  expect(transport.writable).toBe(false);
});
