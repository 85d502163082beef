import cluster from 'node:cluster';
import { type Demo, startDemo } from '../executions/demo.js';
import { EXTENSION as EXECUTIONS } from '../executions/schema.js';
import { type Gateway, startGateway } from '../gateway.js';
import { type Logger, makeLogger } from '../ground/logger.js';
import { Metrics } from '../ground/metrics.js';
import { removeClientVariables } from '../postgres/client-variables.js';
import { startEmbedded } from '../postgres/embedded.js';
import { installedExtensions } from '../postgres/extensions.js';
import { OutdatedInstallation } from '../postgres/installation.js';
import { migrate } from '../postgres/migrate.js';
import { extensionSets } from '../postgres/sql-sets.js';
import { type Config, needsToken } from '../settings/config.js';
import { withoutPassword } from '../settings/database-url.js';
import { runWorker, startWorkers } from '../workers/workers.js';
import { mayPublish } from './database.js';
import { print } from './output.js';

/**
 * Who asks again after so many milliseconds wants it to end at once. Sooner it is an echo: of one Ctrl-C, npm passes on
 * a second signal besides that of the terminal.
 */
const INSISTS = 1_000;
/** The exit code then: 128 + SIGINT. */
const FORCED = 130;

interface Running {
  /** Rejects when a part ended by itself that must not. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** `rowcast up`: a database if none was named, its migrations, the gateway, the demo. Returns after a signal. */
export async function up(config: Config, options: { demo: boolean }): Promise<void> {
  const logger = makeLogger(config.logLevel);
  if (cluster.isWorker) return runWorker(config, logger);
  const asked = nextSignal();
  const { failed, stop } = await start(config, options.demo, logger);
  try {
    const signal = await Promise.race([asked, failed]);
    logger.info({ signal }, 'stopping');
  } finally {
    await stop();
  }
}

async function start(config: Config, withDemo: boolean, logger: Logger): Promise<Running> {
  const ends: (() => Promise<void>)[] = [];
  // The last to be started is the first to be stopped: the gateway still reads while it sends its clients away.
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    let failed = new Promise<never>(() => {});
    let databaseUrl = config.databaseUrl;
    if (databaseUrl === undefined) {
      removeClientVariables();
      const log = (line: string) => logger.debug({ postgres: line });
      const embedded = await startEmbedded({ dataDir: config.dataDir, log });
      ends.push(() => embedded.stop());
      databaseUrl = embedded.url;
      failed = embedded.exited.then(() => {
        throw new Error('the embedded database has ended');
      });
      failed.catch(() => {}); // it also ends when it is told to
    }
    // The embedded database has all extensions; one of the user's own has those that were installed there.
    const ran = await migrate(databaseUrl, config.databaseUrl === undefined ? { with: extensionSets() } : {});
    if (ran.length > 0) logger.info({ migrations: ran }, 'migrated');
    const gateway = await startGateways(config, databaseUrl, logger);
    ends.push(() => gateway.stop());
    const demo = withDemo ? await demoIn(databaseUrl, logger) : null;
    if (demo !== null) ends.push(() => demo.stop());
    greet(gateway.url, config, databaseUrl, { demo, publishes: await mayPublish(databaseUrl) });
    return { failed, stop };
  } catch (error) {
    await stop();
    throw explained(error as NodeJS.ErrnoException, config);
  }
}

/** The demo needs executions, with a table of ventures that may be written to. */
async function demoIn(databaseUrl: string, logger: Logger): Promise<Demo | null> {
  const executions = (await installedExtensions(databaseUrl)).find(({ name }) => name === EXECUTIONS);
  if (executions !== undefined && executions.adopted.length === 0) {
    return startDemo(databaseUrl, executions.schema, logger);
  }
  const why = executions === undefined ? 'executions are not installed' : 'the ventures belong to the application';
  logger.info(`no demo: in this database ${why}`);
  return null;
}

/** With what mends it. */
function explained(error: NodeJS.ErrnoException, { port, databaseUrl, dataDir }: Config): Error {
  if (error instanceof OutdatedInstallation && databaseUrl === undefined) {
    const found = `the embedded database in ${dataDir} was made by a version of Rowcast that was never released`;
    return new Error(`${found}: delete that folder, or name another one in ROWCAST_DATA_DIR`, { cause: error });
  }
  if (error.code !== 'EADDRINUSE') return error;
  return new Error(`port ${port} is taken: stop what listens there, or set ROWCAST_PORT`, { cause: error });
}

function startGateways(config: Config, databaseUrl: string, logger: Logger): Promise<Gateway> {
  if (config.workers > 1) return startWorkers(config, databaseUrl, logger);
  const metrics = new Metrics();
  metrics.addProcess();
  return startGateway(config, databaseUrl, logger, { metrics });
}

function nextSignal(): Promise<NodeJS.Signals> {
  let asked = Number.POSITIVE_INFINITY;
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (Date.now() - asked > INSISTS) process.exit(FORCED);
        asked = Math.min(asked, Date.now());
        resolve(signal);
      });
    }
  });
}

interface Tour {
  readonly demo: Demo | null;
  /** The login may write to the stream `message`. */
  readonly publishes: boolean;
}

function greet(url: string, config: Config, databaseUrl: string, { demo, publishes }: Tour): void {
  const shown = withoutPassword(databaseUrl);
  const psql = `psql ${config.databaseUrl === undefined ? shown : '"$DATABASE_URL"'} -c`;
  print(`listening on ${url}`, `database ${shown}`);
  print(
    '',
    needsToken(config)
      ? 'Clients show a token: these commands take it from ROWCAST_TOKEN. `npx rowcast token --help` makes one.'
      : 'Without ROWCAST_JWT_SECRET, or another key, everybody on this machine may read and write, and nobody else can connect.',
  );
  const there = url === config.url ? '' : ` --url ${url}`;
  print('', 'Try, each in a terminal of its own:');
  if (demo === null) {
    print(`  npx rowcast watch message:lobby${there}`);
  } else {
    const [, execution] = demo.execution.split(':');
    print(
      `  npx rowcast watch ${demo.execution} --since start${there}`,
      `  npx rowcast watch ${demo.venture}${there}`,
      `  ${psql} "INSERT INTO ${demo.schema}.agent_execution_logs (execution_id, message) VALUES ('${execution}', 'hello')"`,
      `  npx rowcast watch message:lobby${there}`,
    );
  }
  const publish = `"SELECT rowcast.publish('message:lobby', 'greeting', '{\\"hello\\":\\"world\\"}')"`;
  // The login of a gateway may only read: see docs/operations/roles.md.
  print(publishes ? `  ${psql} ${publish}` : `  psql, with a login that may write: -c ${publish}`);
  const curl = needsToken(config) ? 'curl -H "Authorization: Bearer $ROWCAST_TOKEN"' : 'curl';
  print(`  ${curl} -N '${url}/v1/sse?channel=message:lobby'`, `  ${curl} ${url}/v1/channels`);
  print('', `The HTTP API, to read and to try: ${url}/api/docs`, '', 'Ctrl-C stops all of it.');
}
