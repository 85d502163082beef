/** A plain `ws` server, fed by LISTEN: the least that a WebSocket server in Node.js can do. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import { listen } from './rows.js';

const [url = ''] = process.argv.slice(2);
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
await once(server, 'listening');
server.on('connection', (socket) => socket.on('error', () => {}));
await listen(url, (row) => {
  for (const socket of server.clients) socket.send(row);
});
process.stdout.write(`ready ${(server.address() as AddressInfo).port}\n`);
