/**
 * Runs several gateways on one port, each in a process of its own, to use all cores of a machine. The primary starts the
 * workers, replaces those that exit or hang, collects their metrics and forwards commands between them.
 * `startWorkers` runs in the primary, `runWorker` in each worker.
 */
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { AggregatorRegistry } from 'prom-client';
import { type Gateway, startGateway } from '../gateway.js';
import { freePort } from '../ground/free-port.js';
import type { Logger } from '../ground/logger.js';
import { Metrics } from '../ground/metrics.js';
import { Unavailable } from '../ground/refusal.js';
import type { Config } from '../settings/config.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { forwardBetweenWorkers, otherWorkers } from './peers.js';

/** Delay before a worker that exited unexpectedly is replaced, in milliseconds. */
const REPLACE_AFTER = 1_000;

/** Interval of pings to each worker, in milliseconds, and the number of unanswered pings after which it is killed. */
const PING_INTERVAL = 2_000;
const MAX_UNANSWERED = 5;

/** How long a worker may take to stop beyond `ROWCAST_SHUTDOWN_TIMEOUT`, in milliseconds. */
const STOP_MARGIN = 10_000;

/** Messages from a worker to its primary. `metrics` requests the sum of all workers. */
type FromWorker =
  | { readonly type: 'listening'; readonly url: string }
  | { readonly type: 'failed'; readonly message: string; readonly code: string | undefined }
  | { readonly type: 'pong' }
  | { readonly type: 'metrics'; readonly id: number };
type ToWorker =
  | { readonly type: 'stop' }
  | { readonly type: 'ping' }
  | { readonly type: 'metrics'; readonly id: number; readonly text: string | null };

/** Starts `config.workers` gateways. Rejects if one cannot start. */
export async function startWorkers(config: Config, databaseUrl: DatabaseUrl, logger: Logger): Promise<Gateway> {
  const all = new AggregatorRegistry();
  const stopping = new AbortController();
  const replacements = new Set<Promise<unknown>>();
  const killAll = () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
  };
  process.once('exit', killAll);

  // Chosen once, so that replacements use the same port even if all workers have exited.
  const port = `${config.port || (await freePort(0, config.host))}`;
  const start = async (): Promise<string> => {
    // A worker reads the file of a URL itself.
    const database = typeof databaseUrl === 'string' ? { DATABASE_URL: databaseUrl } : {};
    const worker = cluster.fork({ ...database, ROWCAST_PORT: port });
    worker.once('exit', (code, signal) => {
      if (stopping.signal.aborted) return;
      logger.error({ pid: worker.process.pid, code, signal }, 'a worker exited and is being replaced');
      const replaced = delay(REPLACE_AFTER, undefined, { signal: stopping.signal }).then(start, () => {});
      replacements.add(replaced);
      replaced
        .catch((error) => logger.error({ err: error }, 'a worker could not be started')) // its exit triggers another attempt
        .finally(() => replacements.delete(replaced));
    });
    worker.on('message', (message: FromWorker) => {
      if (message.type !== 'metrics') return;
      all.clusterMetrics().then(
        (text) => sendToWorker(worker, { type: 'metrics', id: message.id, text }),
        (error) => {
          logger.warn({ err: error }, 'the metrics of the workers could not be collected');
          sendToWorker(worker, { type: 'metrics', id: message.id, text: null });
        },
      );
    });
    forwardBetweenWorkers(worker);
    watch(worker, logger);
    return listening(worker);
  };

  const stop = async () => {
    stopping.abort();
    await Promise.allSettled(replacements);
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const late = setTimeout(killAll, config.shutdownTimeout + STOP_MARGIN);
    await Promise.all(
      workers.map(async (worker) => {
        const gone = new Promise((resolve) => worker.once('exit', resolve));
        sendToWorker(worker, { type: 'stop' });
        if (!worker.isDead()) await gone;
      }),
    );
    clearTimeout(late);
    process.off('exit', killAll);
  };
  try {
    const urls = await Promise.all(Array.from({ length: config.workers }, start));
    return { url: urls[0] ?? '', stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves to the URL of the worker when it listens. Rejects if it fails or exits before. */
function listening(worker: Worker): Promise<string> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'listening') resolve(message.url);
      if (message.type === 'failed') reject(Object.assign(new Error(message.message), { code: message.code }));
    });
    worker.once('exit', (code) => reject(new Error(`a worker exited with code ${code} before it listened`)));
  });
}

/** Kills a worker that does not answer pings: it would still get its share of new connections. */
function watch(worker: Worker, logger: Logger): void {
  let unanswered = 0;
  worker.on('message', (message: FromWorker) => {
    if (message.type === 'pong') unanswered = 0;
  });
  const timer = setInterval(() => {
    unanswered += 1;
    if (unanswered <= MAX_UNANSWERED) return sendToWorker(worker, { type: 'ping' });
    logger.error({ pid: worker.process.pid }, 'a worker does not respond and is killed');
    worker.process.kill('SIGKILL');
  }, PING_INTERVAL);
  worker.once('exit', () => clearInterval(timer));
}

function sendToWorker(worker: Worker, message: ToWorker): void {
  // Errors are ignored: sending fails only if the worker is exiting, which its exit event reports.
  if (worker.isConnected()) worker.send(message, () => {});
}

/** Runs a gateway in a worker until the primary sends `stop` or exits. */
export async function runWorker(config: Config, databaseUrl: DatabaseUrl, logger: Logger): Promise<void> {
  // Without this Node exits the worker at once when the primary is gone, without a graceful stop.
  if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
  // Ctrl-C reaches every process of the terminal. Only the primary handles it.
  process.on('SIGINT', () => {});
  const stopRequested = Promise.race([
    once(process, 'SIGTERM'),
    once(process, 'disconnect'),
    new Promise<void>((resolve) => {
      process.on('message', (message: ToWorker) => {
        if (message.type === 'stop') resolve();
        if (message.type === 'ping') void sendToPrimary({ type: 'pong' });
      });
    }),
  ]);
  const metrics = new Metrics(requestMetrics);
  metrics.addProcess();
  new AggregatorRegistry(); // answers the primary, with:
  AggregatorRegistry.setRegistries([metrics.registry]);
  try {
    const gateway = await startGateway(config, databaseUrl, logger, { metrics, peers: otherWorkers() });
    await sendToPrimary({ type: 'listening', url: gateway.url });
    await stopRequested;
    await gateway.stop();
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    await sendToPrimary({ type: 'failed', message, code });
  }
}

/** Resolves when the message is written: a message that is still queued is lost when the process exits. */
function sendToPrimary(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
    else resolve();
  });
}

let lastId = 0;

/** Resolves to the metrics of all workers, which only the primary can collect. */
function requestMetrics(): Promise<string> {
  lastId += 1;
  const id = lastId;
  return new Promise((resolve, reject) => {
    const onMessage = (message: ToWorker) => {
      if (message.type !== 'metrics' || message.id !== id) return;
      process.off('message', onMessage);
      if (message.text === null) reject(new Unavailable('a worker did not return its metrics'));
      else resolve(message.text);
    };
    process.on('message', onMessage);
    void sendToPrimary({ type: 'metrics', id });
  });
}
