/**
 * `rowcast up`: starts an embedded database unless DATABASE_URL is set, runs the migrations, starts the gateway (or several
 * workers) and the demo, and prints commands to try. After a signal it stops everything in reverse order.
 */
import cluster from 'node:cluster';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type Demo, startDemo } from '../engine/demo.js';
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
import { type DatabaseUrl, withoutPassword } from '../settings/database-url.js';
import { runWorker, startWorkers } from '../workers/workers.js';
import { mayPublish } from './database.js';
import { print } from './output.js';
import { rotatingUrl } from './secret-files.js';

/**
 * A second signal forces the exit if it arrives after this time, in milliseconds. An earlier one is ignored: for one Ctrl-C,
 * the process gets the signal of the terminal and another one from npm.
 */
const FORCE_AFTER = 1_000;
/** The exit code of a forced exit: 128 + SIGINT. */
const FORCED = 130;

interface Running {
  /** Rejects if the embedded database exits unexpectedly. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** Runs until a signal arrives. Rejects if a part cannot be started, or the embedded database exits. */
export async function up(config: Config, options: { demo: boolean }): Promise<void> {
  const logger = makeLogger(config.logLevel);
  if (cluster.isWorker) return runWorker(config, rotatingUrl(config.databaseUrl ?? ''), logger);
  const signalled = nextSignal();
  const { failed, stop } = await start(config, options.demo, logger);
  try {
    const signal = await Promise.race([signalled, failed]);
    logger.info({ signal }, 'stopping');
  } finally {
    await stop();
  }
}

async function start(config: Config, withDemo: boolean, logger: Logger): Promise<Running> {
  const ends: (() => Promise<void>)[] = [];
  // In reverse order: the gateway needs the database until all connections are closed.
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    // Before anything is changed, also in the database.
    await assertFree(config);
    let failed = new Promise<never>(() => {});
    let databaseUrl = config.databaseUrl;
    if (databaseUrl === undefined) {
      removeClientVariables();
      const log = (line: string) => logger.debug({ postgres: line });
      const embedded = await startEmbedded({ dataDir: config.dataDir, log });
      ends.push(() => embedded.stop());
      databaseUrl = embedded.url;
      failed = embedded.exited.then(() => {
        throw new Error('the embedded database exited unexpectedly');
      });
      failed.catch(() => {}); // it also exits when it is stopped
    }
    // The embedded database gets all extensions; any other database keeps those that are installed.
    const ran = await migrate(databaseUrl, config.databaseUrl === undefined ? { with: extensionSets() } : {});
    if (ran.length > 0) logger.info({ migrations: ran }, 'migrated');
    const source = rotatingUrl(databaseUrl);
    const gateway = await startGateways(config, source, logger);
    ends.push(() => gateway.stop());
    const demo = withDemo ? await demoIn(source, logger) : null;
    if (demo !== null) ends.push(() => demo.stop());
    greet(gateway.url, config, databaseUrl, { demo, publishes: await mayPublish(databaseUrl) });
    return { failed, stop };
  } catch (error) {
    await stop();
    throw explained(error as NodeJS.ErrnoException, config);
  }
}

/** Starts the demo if the engine is installed, and the table `ventures` is not one of the application, to which it must not write. */
async function demoIn(databaseUrl: DatabaseUrl, logger: Logger): Promise<Demo | null> {
  const installed = await installedExtensions(databaseUrl);
  const executions = installed.find(({ name }) => name === EXECUTIONS);
  const engine = installed.some(({ name }) => name === 'engine');
  if (engine && executions?.adopted.length === 0) return startDemo(databaseUrl, executions.schema, logger);
  const why = engine ? 'the table ventures belongs to the application' : 'the engine is not installed';
  logger.info(`no demo: in this database ${why}`);
  return null;
}

/** Adds how to fix the error, if that is known. */
function explained(error: NodeJS.ErrnoException, { port, databaseUrl, dataDir }: Config): Error {
  if (error instanceof OutdatedInstallation && databaseUrl === undefined) {
    const found = `the embedded database in ${dataDir} was made by a version of Rowcast that was never released`;
    return new Error(`${found}: delete that folder, or name another one in ROWCAST_DATA_DIR`, { cause: error });
  }
  if (error.code !== 'EADDRINUSE') return error;
  return new Error(`port ${port} is taken: stop what listens there, or set ROWCAST_PORT`, { cause: error });
}

/** Rejects with `EADDRINUSE` if another program listens at the address of the gateway. */
async function assertFree({ port, host }: Config): Promise<void> {
  const probe = createServer().listen(port, host);
  await once(probe, 'listening');
  probe.close();
  await once(probe, 'close');
}

function startGateways(config: Config, databaseUrl: DatabaseUrl, logger: Logger): Promise<Gateway> {
  if (config.workers > 1) return startWorkers(config, databaseUrl, logger);
  const metrics = new Metrics();
  metrics.addProcess();
  return startGateway(config, databaseUrl, logger, { metrics });
}

function nextSignal(): Promise<NodeJS.Signals> {
  let first = Number.POSITIVE_INFINITY;
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (Date.now() - first > FORCE_AFTER) process.exit(FORCED);
        first = Math.min(first, Date.now());
        resolve(signal);
      });
    }
  });
}

/** The channel of the commands that are printed. The tour of README has another one, so that its numbers begin at 1. */
const CHANNEL = 'message:hello';

interface Tour {
  readonly demo: Demo | null;
  /** Whether the login may write to the stream `message`. */
  readonly publishes: boolean;
}

function greet(url: string, config: Config, databaseUrl: string, { demo, publishes }: Tour): void {
  const shown = withoutPassword(databaseUrl);
  const secret = shown !== databaseUrl;
  const psql = `psql ${secret ? '"$DATABASE_URL"' : `'${shown}'`} -c`;
  print(`listening on ${url}`, `database ${shown}`);
  print(
    '',
    needsToken(config)
      ? 'Clients need a token. These commands read it from ROWCAST_TOKEN; see `npx rowcast token --help`.'
      : 'Without ROWCAST_JWT_SECRET or another key, all programs on this machine can read and write, and other machines cannot connect.',
  );
  if (config.dashboard === 'on') print('', `Open ${url} to watch ${demo === null ? 'it' : 'the demo at work'}.`);
  const there = url === config.url ? '' : ` --url ${url}`;
  print('', `Try these commands, each in its own terminal${secret ? ', where DATABASE_URL is set as here' : ''}:`);
  if (demo === null) {
    print(`  npx rowcast watch ${CHANNEL}${there}`);
  } else {
    const [, execution] = demo.execution.split(':');
    print(
      `  npx rowcast watch ${demo.execution} --since start${there}`,
      `  npx rowcast watch ${demo.venture}${there}`,
      `  ${psql} "INSERT INTO ${demo.schema}.agent_execution_logs (execution_id, message) VALUES ('${execution}', 'hello')"`,
      `  npx rowcast watch ${CHANNEL}${there}`,
    );
  }
  const publish = `"SELECT rowcast.publish('${CHANNEL}', 'greeting', '{\\"hello\\":\\"world\\"}')"`;
  // In production the login of a gateway may not write: see docs/operations/roles.md.
  print(publishes ? `  ${psql} ${publish}` : `  psql, with a login that may write: -c ${publish}`);
  const curl = needsToken(config) ? 'curl -H "Authorization: Bearer $ROWCAST_TOKEN"' : 'curl';
  print(`  ${curl} -N '${url}/v1/sse?channel=${CHANNEL}'`, `  ${curl} ${url}/v1/channels`);
  print('', `The HTTP API, interactive: ${url}/api/docs`, '', 'Ctrl-C stops everything.');
}
