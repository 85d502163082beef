import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { EventsFrame } from '../../server/ports/events-frame.js';
import { SseTransport } from '../../server/transport/sse.js';
import { until } from '../support/until.js';

const BUFFER = 10_000;

let transport: SseTransport;
let end: () => Promise<void>;

beforeEach(async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  const asked = once(server, 'request');
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const [, response] = await asked;
  transport = new SseTransport(response, BUFFER);
  end = async () => {
    const closed = once(server, 'close');
    socket.destroy();
    server.close();
    server.closeAllConnections();
    await closed;
  };
});
afterEach(() => end());

test('I6: a stream takes no events before it has begun, and says when it does', async () => {
  let drained = 0;
  transport.onDrained = () => {
    drained += 1;
  };
  transport.send({ type: 'subscribed', id: 1, channel: 'a:1', epoch: 'e', head: 1, floor: 1 });
  expect([transport.begun, transport.writable, drained]).toEqual([false, false, 0]);
  await until(() => drained > 0, { what: 'the stream to take events' });
  expect([transport.begun, transport.writable]).toEqual([true, true]);
});

test('I6: one that is not read takes no more than its buffer', async () => {
  transport.begin();
  const page = new EventsFrame(1, 1, 'x'.repeat(BUFFER));
  let sent = 0;
  for (; transport.writable && sent < 10_000; sent += 1) transport.send(page);
  expect(sent).toBeLessThan(10_000);
});
