/**
 * `npm run test:next`: the example for Next.js in a folder of its own, with the packed client and what it installs from npm. It is
 * built, and a page is read that the server renders. Not among the tests, because Next.js is a download of some 300 MB.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../server/ground/free-port.js';
import { packageRoot } from '../server/ground/package-root.js';
import { migrate } from '../server/postgres/migrate.js';
import { createExecution, createVenture } from './support/api.js';
import { startTestGateway } from './support/gateway.js';
import { makeProject, manifestOf, packPackages, run } from './support/packages.js';
import { startEmbedded } from './support/server.js';
import { until } from './support/until.js';

const EXAMPLE = join(packageRoot(), 'docs/examples/next');

const folder = mkdtempSync(join(tmpdir(), 'rowcast-next-'));
const cluster = await startEmbedded({ dataDir: join(folder, 'data') });
await migrate(cluster.url, { with: ['executions'] });
const writer = new pg.Client({ connectionString: cluster.url });
await writer.connect();
const gateway = await startTestGateway(cluster.url);
const port = `${await freePort()}`;
const ends: (() => unknown)[] = [];
try {
  const { client } = await packPackages(folder);
  const { scripts, ...manifest } = manifestOf(EXAMPLE);
  const wanted = { ...(manifest.dependencies as object), ...(manifest.devDependencies as object) };
  const install = Object.entries({ ...wanted, '@rowcast/client': client }).map(([name, version]) =>
    name === '@rowcast/client' ? client : `${name}@${version}`,
  );
  const app = await makeProject(join(folder, 'app-of-next'), { manifest: { scripts }, install, files: {} });
  cpSync(join(EXAMPLE, 'app'), join(app, 'app'), { recursive: true });
  const env = { ROWCAST_URL: gateway.url, NEXT_TELEMETRY_DISABLED: '1' };
  const built = await run(app, ['npm', 'run', 'build'], env);
  console.log(built.output, built.errors);
  if (built.code !== 0) throw new Error('it does not build');

  const server = spawn(process.execPath, [join(app, 'node_modules/next/dist/bin/next'), 'start', '-p', port], {
    cwd: app,
    env: { ...process.env, ...env },
    stdio: 'inherit',
  });
  ends.push(() => server.kill());
  const execution = await createExecution(writer, await createVenture(writer, 'ann'));
  const page = `http://127.0.0.1:${port}/?id=${execution}`;
  const html = await until(async () => (await fetch(page).catch(() => null))?.text(), {
    what: 'the page',
    deadlineMs: 60_000,
  });
  const [shown = html] = /<p>[^<]*<\/p>/.exec(html) ?? [];
  console.log(`the server renders ${shown}`);
  if (!shown.includes('0 %')) throw new Error('the server renders no progress');
} finally {
  for (const end of ends) end();
  await gateway.stop();
  await writer.end();
  await cluster.stop();
  rmSync(folder, { recursive: true });
}
