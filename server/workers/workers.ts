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
import { otherWorkers, passOnOrders } from './peers.js';

/** Between the end of a worker that was not told to end and the start of the next, in milliseconds. */
const REPLACE_AFTER = 1_000;

/** How often a worker is asked whether it lives, and after how many questions without an answer it is killed. */
const PING_INTERVAL = 2_000;
const MAX_UNANSWERED = 5;

/** How long a worker may take to stop beyond `ROWCAST_SHUTDOWN_TIMEOUT`, in milliseconds. */
const STOP_MARGIN = 10_000;

/** What a worker tells its primary. `metrics` asks for those of all workers together. */
type FromWorker =
  | { readonly type: 'listening'; readonly url: string }
  | { readonly type: 'failed'; readonly message: string; readonly code: string | undefined }
  | { readonly type: 'pong' }
  | { readonly type: 'metrics'; readonly id: number };
type ToWorker =
  | { readonly type: 'stop' }
  | { readonly type: 'ping' }
  | { readonly type: 'metrics'; readonly id: number; readonly text: string | null };

/** Gateways that share one port, each in a process of its own: one machine's cores. Rejects if one cannot start. */
export async function startWorkers(config: Config, databaseUrl: string, logger: Logger): Promise<Gateway> {
  const all = new AggregatorRegistry();
  const stopping = new AbortController();
  const replacements = new Set<Promise<unknown>>();
  const killAll = () => {
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
  };
  process.once('exit', killAll);

  // One for all of them, also for those that come after all the first ones have ended.
  const port = `${config.port || (await freePort(0, config.host))}`;
  const start = async (): Promise<string> => {
    const worker = cluster.fork({ DATABASE_URL: databaseUrl, DATABASE_URL_FILE: '', ROWCAST_PORT: port });
    worker.once('exit', (code, signal) => {
      if (stopping.signal.aborted) return;
      logger.error({ pid: worker.process.pid, code, signal }, 'a worker has ended, and is replaced');
      const replaced = delay(REPLACE_AFTER, undefined, { signal: stopping.signal }).then(start, () => {});
      replacements.add(replaced);
      replaced
        .catch((error) => logger.error({ err: error }, 'a worker could not be started')) // its end is noticed as well
        .finally(() => replacements.delete(replaced));
    });
    worker.on('message', (message: FromWorker) => {
      if (message.type !== 'metrics') return;
      all.clusterMetrics().then(
        (text) => tell(worker, { type: 'metrics', id: message.id, text }),
        (error) => {
          logger.warn({ err: error }, 'the metrics of the workers could not be gathered');
          tell(worker, { type: 'metrics', id: message.id, text: null });
        },
      );
    });
    passOnOrders(worker);
    watch(worker, logger);
    return started(worker);
  };

  const stop = async () => {
    stopping.abort();
    await Promise.allSettled(replacements);
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const late = setTimeout(killAll, config.shutdownTimeout + STOP_MARGIN);
    await Promise.all(
      workers.map(async (worker) => {
        const gone = new Promise((resolve) => worker.once('exit', resolve));
        tell(worker, { type: 'stop' });
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

/** Resolves to the address where the worker listens. */
function started(worker: Worker): Promise<string> {
  return new Promise((resolve, reject) => {
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'listening') resolve(message.url);
      if (message.type === 'failed') reject(Object.assign(new Error(message.message), { code: message.code }));
    });
    worker.once('exit', (code) => reject(new Error(`a worker ended with ${code} before it listened`)));
  });
}

/** One that hangs would still be given its share of the clients. */
function watch(worker: Worker, logger: Logger): void {
  let unanswered = 0;
  worker.on('message', (message: FromWorker) => {
    if (message.type === 'pong') unanswered = 0;
  });
  const timer = setInterval(() => {
    unanswered += 1;
    if (unanswered <= MAX_UNANSWERED) return tell(worker, { type: 'ping' });
    logger.error({ pid: worker.process.pid }, 'a worker hangs, and is killed');
    worker.process.kill('SIGKILL');
  }, PING_INTERVAL);
  worker.once('exit', () => clearInterval(timer));
}

function tell(worker: Worker, message: ToWorker): void {
  // One that is just ending fails here, and its end is noticed anyway.
  if (worker.isConnected()) worker.send(message, () => {});
}

/** The life of one worker: a gateway, until its primary tells it to stop or is gone. */
export async function runWorker(config: Config, logger: Logger): Promise<void> {
  // Or Node ends it on the spot when the primary is gone.
  if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true;
  // Ctrl-C reaches every process of the terminal; the primary decides what it means.
  process.on('SIGINT', () => {});
  const asked = Promise.race([
    once(process, 'SIGTERM'),
    once(process, 'disconnect'),
    new Promise<void>((resolve) => {
      process.on('message', (message: ToWorker) => {
        if (message.type === 'stop') resolve();
        if (message.type === 'ping') void say({ type: 'pong' });
      });
    }),
  ]);
  const metrics = new Metrics(askForMetrics);
  metrics.addProcess();
  new AggregatorRegistry(); // answers the primary, with:
  AggregatorRegistry.setRegistries([metrics.registry]);
  try {
    const gateway = await startGateway(config, config.databaseUrl ?? '', logger, { metrics, peers: otherWorkers() });
    await say({ type: 'listening', url: gateway.url });
    await asked;
    await gateway.stop();
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    await say({ type: 'failed', message, code });
  }
}

/** Resolves when it is on its way: a process that exits before would take it along. */
function say(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
    else resolve();
  });
}

let lastId = 0;

function askForMetrics(): Promise<string> {
  lastId += 1;
  const id = lastId;
  return new Promise((resolve, reject) => {
    const onMessage = (message: ToWorker) => {
      if (message.type !== 'metrics' || message.id !== id) return;
      process.off('message', onMessage);
      if (message.text === null) reject(new Unavailable('a worker does not answer'));
      else resolve(message.text);
    };
    process.on('message', onMessage);
    void say({ type: 'metrics', id });
  });
}
