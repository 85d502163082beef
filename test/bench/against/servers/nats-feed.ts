/** Publishes what LISTEN brings to a nats-server, in its own protocol. Arguments: the database, the port. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { listen } from './rows.js';

const [url = '', port = ''] = process.argv.slice(2);
const socket = connect(Number(port), '127.0.0.1').setNoDelay();
await once(socket, 'connect');
socket.on('data', (data) => {
  if (data.includes('PING')) socket.write('PONG\r\n');
});
socket.write('CONNECT {"verbose":false,"pedantic":false}\r\n');
await listen(url, (row) => void socket.write(`PUB ev ${Buffer.byteLength(row)}\r\n${row}\r\n`));
process.stdout.write(`ready ${port}\n`);
