/** BullMQ on Redis: one queue for each agent type. A job is the news of a task, and lasts as long as its attempt. */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { z } from 'zod';
import type { Logger } from '../../ground/logger.js';
import type { Carrier, Consumer, ReadyTask, Workplace } from '../carrier.js';

/** Keys in Redis begin with it. */
const PREFIX = 'rowcast';

/** BullMQ sorts from 1, the first. */
const FIRST = 101;

/** Nothing is kept of what is over: the state is in PostgreSQL. */
const FORGET = { removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } };

/** How long a worker waits for a job in one request, in seconds. */
const WAIT = 5;

const job = z.object({ taskId: z.guid(), attempt: z.int() });

const queueOf = (type: string): string => encodeURIComponent(type);

export async function bullmqCarrier(url: string, logger: Logger): Promise<Carrier> {
  const queues = new Map<string, Queue>();
  let sender: Redis | undefined;
  const heard = (error: Error) => logger.warn({ err: error }, 'the connection to Redis failed');
  const connect = (maxRetriesPerRequest: number | null) => {
    const redis = new Redis(url, { maxRetriesPerRequest });
    redis.on('error', heard);
    return redis;
  };

  function queue(type: string): Queue {
    // A command that Redis does not answer fails soon: the tasks are sent again.
    sender ??= connect(1);
    const known = queues.get(type);
    if (known !== undefined) return known;
    const made = new Queue(queueOf(type), { connection: sender, prefix: PREFIX });
    made.on('error', heard);
    queues.set(type, made);
    return made;
  }

  return {
    name: 'bullmq',

    async send(tasks) {
      const types = new Set(tasks.map(({ agentType }) => agentType));
      const jobsOf = (type: string) => tasks.filter(({ agentType }) => agentType === type).map(jobOf);
      await Promise.all([...types].map((type) => queue(type).addBulk(jobsOf(type))));
    },

    async consume({ slots, carry }: Workplace): Promise<Consumer> {
      const probe = connect(1);
      await probe.ping().finally(() => probe.disconnect());
      // From here on BullMQ waits for Redis by itself.
      const connection = connect(null);
      const workers = [...slots].map(([type, concurrency]) => {
        const worker = new Worker(
          queueOf(type),
          async (news) => {
            const { taskId, attempt } = job.parse(news.data);
            // What is sent from now on is another job: this one may be too early or too late for it.
            await news.removeDeduplicationKey();
            await carry(taskId, attempt);
          },
          // A job whose worker is gone is dropped: if its task has not begun, it is sent again.
          { connection, prefix: PREFIX, concurrency, drainDelay: WAIT, maxStalledCount: 0, ...FORGET },
        );
        worker.on('error', heard);
        return worker;
      });
      return {
        async stop() {
          await Promise.all(workers.map((worker) => worker.close()));
          connection.disconnect();
        },
      };
    },

    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
      sender?.disconnect();
    },
  };
}

function jobOf({ taskId, attempt, priority }: ReadyTask) {
  // While it waits, what is sent again is the same job: a long queue would hold each task many times.
  const deduplication = { id: `${taskId} ${attempt}` };
  return { name: 'task', data: { taskId, attempt }, opts: { priority: FIRST - priority, deduplication, ...FORGET } };
}
