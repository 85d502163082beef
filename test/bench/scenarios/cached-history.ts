import { Agent, request } from 'node:http';
import { whyLacking } from '../../support/installed.mjs';
import { startNginx } from '../../support/nginx.js';
import { insert, startDatabase } from '../harness/database.js';
import { atEnd } from '../harness/ends.js';
import { LIFTED, startGateway } from '../harness/gateway.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const ROWS = 50_000;
const READERS = 8;
const SHAPE = `${READERS} readers`;
const agent = new Agent({ keepAlive: true, maxSockets: READERS });

interface Page {
  readonly frames: readonly { readonly type: string; readonly to?: number; readonly events?: readonly unknown[] }[];
  readonly positions: Readonly<Record<string, string>>;
}

const get = (url: string) =>
  new Promise<Page>((resolve, reject) => {
    request(url, { agent }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve(JSON.parse(Buffer.concat(parts).toString()) as Page));
    })
      .on('error', reject)
      .end();
  });

/** Reads the channel page by page, and returns how many rows it had. */
async function readAll(url: string, rows: number): Promise<number> {
  let seen = 0;
  for (let since = 'start'; seen < rows; ) {
    const page = await get(`${url}/v1/poll?channel=attached:a&since=${since}&wait=0`);
    const events = page.frames.flatMap((frame) => frame.events ?? []);
    if (events.length === 0) break;
    seen += events.length;
    since = page.positions['attached:a'] ?? '';
  }
  return seen;
}

const cached = (gateway: string) => (port: number, folder: string) =>
  `
  proxy_cache_path ${folder} keys_zone=history:10m max_size=1g;
  server {
    listen 127.0.0.1:${port};
    location = /v1/poll { proxy_pass ${gateway}; proxy_cache history; proxy_cache_key $request_uri; }
  }`;

export const cachedHistory: Scenario = {
  name: 'cache',
  title: 'History behind a cache',
  about: `${READERS} readers at once, each reads ${ROWS} rows of one channel by GET, page by page: from the gateway, and from nginx in front of it with
\`proxy_cache\` and \`ROWCAST_CACHE=public\`.`,
  seconds: 0,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: ['gateway', 'nginx'] }],
  columns: [
    { figure: 'rows', title: 'rows/s', digits: 0 },
    { figure: 'gatewayCpu', title: 'gateway CPU µs a row', digits: 2 },
    { figure: 'postgresCpu', title: 'PostgreSQL CPU µs a row', digits: 2 },
  ],
  chart: 'rows',
  async open(run) {
    const database = await startDatabase();
    const writer = await database.connect();
    const rows = run.scale(ROWS);
    await writer.query({ ...insert('attached'), values: ['a', 0, rows] });
    const gateway = await startGateway(database.url, { ...LIFTED, ROWCAST_CACHE: 'public' });
    const urls: Record<string, string> = { gateway: gateway.url };
    const why = whyLacking('nginx');
    if (why === null) {
      const starting = startNginx(cached(gateway.url));
      atEnd(async () => (await starting).close());
      urls.nginx = (await starting).url;
    } else run.leaveOut('nginx', why);
    for (const url of Object.values(urls)) await readAll(url, rows); // the cache is filled by the first reader
    return async ({ system }) => {
      const read = meter({ server: gateway.cpu, postgres: database.cpu });
      const seen = await Promise.all(Array.from({ length: READERS }, () => readAll(urls[system] ?? '', rows)));
      const { cores, seconds } = read();
      const total = seen.reduce((sum, each) => sum + each, 0);
      const perRow = (part: number | undefined) => (((part ?? 0) * seconds) / total) * 1e6;
      return {
        cores,
        figures: { rows: total / seconds, gatewayCpu: perRow(cores.server), postgresCpu: perRow(cores.postgres) },
      };
    };
  },
  musts: () => [],
};
