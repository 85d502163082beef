/** The reference server of Durable Streams, with one stream in memory. Argument: its package folder. */
import { createRequire } from 'node:module';

interface TestServer {
  start(): Promise<string>;
}

const [folder = ''] = process.argv.slice(2);
const { DurableStreamTestServer } = createRequire(import.meta.url)(folder) as {
  DurableStreamTestServer: new (options: object) => TestServer;
};
const url = await new DurableStreamTestServer({ port: 0, host: '127.0.0.1', compression: false }).start();
await fetch(`${url}/rows`, { method: 'PUT', headers: { 'content-type': 'application/json' } });
process.stdout.write(`ready ${new URL(url).port}\n`);
process.stdin.on('end', () => process.exit()).resume();
