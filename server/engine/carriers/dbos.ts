/**
 * DBOS, with its tables in PostgreSQL: one queue for each agent type. A workflow is the news of a task, and lasts as long as
 * its attempt. A process has one DBOS, and so at most one worker with it.
 */
import { DBOS, DBOSClient, type DLogger } from '@dbos-inc/dbos-sdk';
import type { Logger } from '../../ground/logger.js';
import type { Carrier, Consumer, Workplace } from '../carrier.js';

/** All workers take all tasks, whatever their version: agents of two versions work side by side in a deployment. */
const VERSION = 'rowcast';
const APPLICATION = 'rowcast';
const WORKFLOW = 'rowcast task';
/** DBOS sorts from 0, the first. */
const FIRST = 100;
/** How often a worker looks into a queue, in milliseconds. */
const POLL = 100;
/** How long a stopping worker waits for its workflows at most, in milliseconds. The worker has ended them before. */
const SHUTDOWN = 60_000;
/**
 * How often workflows that are over are removed, how long they are kept, in milliseconds, and how many at once. When that
 * many were found, the next tasks that are sent remove more.
 */
const SWEEP = 60_000;
const KEPT = 24 * 3_600_000;
const BATCH = 1_000;

const queueOf = (type: string): string => `rowcast ${type}`;

/** Of the worker of this process. DBOS registers a workflow once, and keeps it when it is shut down. */
let carryHere: (taskId: string, attempt: number, type: string) => Promise<void> = async () => {};
let registered = false;

export async function dbosCarrier(url: string, logger: Logger): Promise<Carrier> {
  const own = quiet(logger);
  let connecting: Promise<DBOSClient> | undefined;
  let sweepAt = 0;
  const connect = () =>
    DBOSClient.create({ systemDatabaseUrl: url, applicationName: APPLICATION, systemDatabasePoolSize: 2, logger: own });

  /**
   * The workflows of a killed worker stay pending. No other worker takes them, because the tasks are sent again. Does not
   * reject: what comes before it has been sent.
   */
  async function sweep(client: DBOSClient): Promise<void> {
    if (performance.now() < sweepAt) return;
    sweepAt = performance.now() + SWEEP;
    const endTime = new Date(Date.now() - KEPT).toISOString();
    try {
      const old = await client.listWorkflows({ workflowName: WORKFLOW, endTime, limit: BATCH });
      if (old.length > 0) await client.deleteWorkflows(old.map(({ workflowID }) => workflowID));
      // There may be more. At least as many are removed as are sent.
      if (old.length === BATCH) sweepAt = 0;
    } catch (error) {
      logger.warn({ err: error }, 'workflows that are over could not be removed');
    }
  }

  return {
    name: 'dbos',

    async send(tasks) {
      connecting ??= connect().catch((error: unknown) => {
        connecting = undefined;
        throw error;
      });
      const client = await connecting;
      await Promise.all(
        tasks.map(({ taskId, attempt, agentType, priority }) =>
          client.enqueue(
            {
              queueName: queueOf(agentType),
              workflowName: WORKFLOW,
              appVersion: VERSION,
              priority: FIRST - priority,
            },
            taskId,
            attempt,
            agentType,
          ),
        ),
      );
      await sweep(client);
    },

    async consume({ name, slots, carry }: Workplace): Promise<Consumer> {
      if (DBOS.isInitialized()) throw new Error('this process has a DBOS already, and there is one for each process');
      DBOS.setConfig({
        name: APPLICATION,
        systemDatabaseUrl: url,
        applicationVersion: VERSION,
        executorID: name,
        listenQueues: [...slots.keys()].map(queueOf),
        logger: own,
      });
      const limits = new Map([...slots].map(([type, count]) => [type, limitTo(count)]));
      carryHere = async (taskId, attempt, type) => limits.get(type)?.(() => carry(taskId, attempt));
      if (!registered)
        DBOS.registerWorkflow((...news: Parameters<typeof carryHere>) => carryHere(...news), { name: WORKFLOW });
      registered = true;
      try {
        await DBOS.launch();
        for (const [type, workerConcurrency] of slots) {
          await DBOS.registerQueue(queueOf(type), {
            workerConcurrency,
            minPollingIntervalMs: POLL,
            onConflict: 'always_update',
          });
        }
      } catch (error) {
        await DBOS.shutdown();
        throw error;
      }
      return { stop: () => DBOS.shutdown({ workflowCompletionTimeoutMS: SHUTDOWN }) };
    },

    async close() {
      // What does not connect has nothing to close; `send` rejects with the reason.
      await (await connecting?.catch(() => undefined))?.destroy();
    },
  };
}

/** Calls work when fewer than so many others run: the limit that DBOS has is one for all workers, that of the last to start. */
function limitTo(count: number) {
  const waiting: (() => void)[] = [];
  let free = count;
  return async (work: () => Promise<void>): Promise<void> => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    await work();
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next();
  };
}

/** What DBOS says is of interest only if something is wrong. */
function quiet(logger: Logger): DLogger {
  const debug = (entry: unknown) => logger.debug({ dbos: entry }, 'DBOS');
  return { info: debug, debug, warn: debug, error: (entry: unknown) => logger.warn({ dbos: entry }, 'DBOS') };
}
