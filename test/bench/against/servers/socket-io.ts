/**
 * Socket.IO, fed by LISTEN or, without `feed`, by the other servers of its Postgres adapter. Arguments: the database, `feed` or
 * `follow`, the folder of socket.io, and that of the adapter or none.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { listen } from './rows.js';

interface SocketIo {
  attach(server: unknown, options: object): void;
  adapter(adapter: unknown): void;
  on(event: 'connection', listener: (socket: { join(room: string): void }) => void): void;
  to(room: string): { emit(event: string, value: unknown): void };
}

const [url = '', role = 'feed', folder = '', adapterFolder = ''] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const { Server } = require(folder) as { Server: new () => SocketIo };
const io = new Server();
const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
if (adapterFolder !== '') {
  const { createAdapter } = require(adapterFolder) as { createAdapter: (pool: pg.Pool) => unknown };
  io.adapter(createAdapter(new pg.Pool({ connectionString: url, max: 4 })));
}
io.attach(server, { perMessageDeflate: false, transports: ['websocket'] });
io.on('connection', (socket) => socket.join('rows'));
if (role === 'feed') await listen(url, (row) => io.to('rows').emit('row', JSON.parse(row)));
process.stdout.write(`ready ${(server.address() as AddressInfo).port}\n`);
