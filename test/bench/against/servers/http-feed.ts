/** Sends what LISTEN brings to an HTTP server, one request after the other on one connection. Arguments: the database, the URL, the content type. */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { listen } from './rows.js';

const [url = '', target = '', contentType = ''] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

async function post(body: string): Promise<void> {
  const headers = { 'content-type': contentType, 'content-length': Buffer.byteLength(body) };
  const sent = request(target, { method: 'POST', agent, headers });
  sent.end(body);
  const [response] = await once(sent, 'response');
  response.resume();
  if (response.statusCode >= 300) process.stderr.write(`${target}: ${response.statusCode}\n`);
  await once(response, 'end');
}

let queue: string[] = [];
let sending = false;
await listen(url, async (row) => {
  queue.push(row);
  if (sending) return;
  sending = true;
  while (queue.length > 0) {
    const rows = queue;
    queue = [];
    for (const next of rows) await post(next);
  }
  sending = false;
});
process.stdout.write(`ready ${new URL(target).port}\n`);
