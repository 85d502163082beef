import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { until } from '../support/until.js';

let server: Server;
let proxy: FaultProxy;
const far: End[] = [];
const near: End[] = [];

/** One end of a connection: what has come, and how it ended. */
interface End {
  readonly socket: Socket;
  got: string;
  over: string;
}

function watch(socket: Socket): End {
  const end: End = { socket, got: '', over: '' };
  socket.on('data', (chunk) => {
    end.got += chunk;
  });
  socket.on('end', () => {
    end.over ||= 'FIN';
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    end.over = error.code ?? 'error';
  });
  return end;
}

async function dial(): Promise<{ near: End; far: End }> {
  const before = far.length;
  const client = watch(connect(proxy.port, '127.0.0.1'));
  near.push(client);
  const peer = await until(() => far[before], { what: 'the connection to reach the target' });
  return { near: client, far: peer };
}

beforeEach(async () => {
  server = createServer((socket) => far.push(watch(socket)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await startProxy((server.address() as AddressInfo).port);
});

afterEach(async () => {
  await proxy.close();
  for (const { socket } of [...near.splice(0), ...far.splice(0)]) socket.destroy();
  server.close();
});

test('it passes on bytes and the end of them', async () => {
  const { near, far } = await dial();
  near.socket.write('hello');
  far.socket.write('there');
  await until(() => far.got === 'hello' && near.got === 'there', { what: 'the bytes' });
  near.socket.end();
  await until(() => far.over === 'FIN' && near.over === 'FIN' && proxy.connections === 0, { what: 'the end' });
});

test('a swallowed direction loses bytes and FIN, the other one lives; healing resets what is broken', async () => {
  const broken = await dial();
  const whole = await dial();
  proxy.swallow('up');
  broken.near.socket.write('lost');
  broken.far.socket.write('seen');
  await until(() => broken.near.got === 'seen', { what: 'the other direction' });
  broken.near.socket.end();
  expect(broken.far.over).toBe('');
  proxy.heal();
  await until(() => broken.far.over === 'ECONNRESET', { what: 'the reset' });
  whole.near.socket.write('whole');
  await until(() => whole.far.got === 'whole', { what: 'the connection that lost nothing' });
  expect(broken.far.got).toBe('');
});

test('a swallowed direction hides a RST', async () => {
  const { near, far } = await dial();
  near.socket.write('x');
  await until(() => far.got === 'x', { what: 'the byte' });
  proxy.swallow('up');
  near.socket.resetAndDestroy();
  far.socket.write('y');
  const other = await dial();
  other.far.socket.write('z');
  await until(() => other.near.got === 'z', { what: 'another connection' });
  expect(far.over).toBe('');
});

test('a held direction fills the buffers of the sender and loses nothing', async () => {
  const { near, far } = await dial();
  proxy.hold('up');
  const text = 'abcdefgh'.repeat(2 ** 20);
  near.socket.write(text);
  far.socket.write('back');
  await until(() => near.got === 'back', { what: 'the other direction' });
  expect(near.socket.writableLength).toBeGreaterThan(0);
  expect(far.got).toBe('');
  proxy.heal();
  await until(() => far.got === text, { what: 'all of it' });
});

test('a cut is in the middle: so many bytes arrive, then both ends are reset', async () => {
  proxy.cutAfter(5, 'down');
  const { near, far } = await dial();
  far.socket.write('123');
  await until(() => near.got === '123', { what: 'the first bytes' });
  far.socket.write('45678');
  // Node reports a reset that comes together with the last bytes as an end.
  await until(() => near.over !== '' && far.over === 'ECONNRESET', { what: 'the resets' });
  expect(near.got).toBe('12345');
});

test('a delay and a throttle keep the order', async () => {
  const { near, far } = await dial();
  proxy.delay(50);
  const began = performance.now();
  near.socket.write('a');
  near.socket.write('b');
  await until(() => far.got === 'ab', { what: 'the delayed bytes' });
  expect(performance.now() - began).toBeGreaterThan(45);
  proxy.heal();
  proxy.throttle(10_000);
  const text = '0123456789'.repeat(200);
  const slow = performance.now();
  near.socket.write(text);
  await until(() => far.got === `ab${text}`, { what: 'the throttled bytes' });
  expect(performance.now() - slow).toBeGreaterThan(100);
});

test('refused, reset, sent elsewhere, and an absent target', async () => {
  const { near, far } = await dial();
  proxy.reset();
  await until(() => near.over === 'ECONNRESET' && far.over === 'ECONNRESET', { what: 'the resets' });
  proxy.refuse();
  const refused = watch(connect(proxy.port, '127.0.0.1'));
  await until(() => refused.over === 'ECONNRESET', { what: 'the refusal' });
  proxy.heal();
  proxy.retarget(1);
  const absent = watch(connect(proxy.port, '127.0.0.1'));
  await until(() => absent.over === 'ECONNRESET', { what: 'the absent target' });
  proxy.retarget((server.address() as AddressInfo).port);
  await dial();
  expect(proxy.connections).toBe(1);
  expect(proxy.via('postgres://me:p%40ss@db.example:5432/app?x=1')).toBe(
    `postgres://me:p%40ss@127.0.0.1:${proxy.port}/app?x=1`,
  );
});
