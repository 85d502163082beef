/**
 * Sends ready tasks to a carrier. The outbox is in the tables: what is marked as sent and does not begin is sent again, so
 * neither a crash between the mark and the sending nor a carrier that loses something can lose a task.
 */
import { z } from 'zod';
import { type Logger, makeLogger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import type { Database } from '../ports/database.js';
import { Calls } from './calls.js';
import type { Bell, Carrier, ReadyTask } from './carrier.js';

/** How often it looks without being rung, in milliseconds: for delays that are over, and for what is to be sent again. */
const LOOK = 500;
/** The maximum number of tasks of each agent type that are sent at once. */
const BATCH = 100;
/** After how long a task that has not begun is sent again, in milliseconds. It doubles each time, up to a minute. */
const AGAIN = 4_000;
/** How long a carrier may take to accept tasks, in milliseconds. */
const SEND_TIMEOUT = 5_000;

export interface OutboxOptions {
  /** Wakes it at once. Without it, it looks twice a second. */
  readonly gateway?: Bell;
  /** Milliseconds until a task that has not begun is sent again. Default: 4,000. */
  readonly again?: number;
  readonly logger?: Logger;
}

const row = z.object({ task_id: z.guid(), attempt: z.int(), agent_type: z.string(), priority: z.int() });
const SEND = 'SELECT * FROM rowcast.send_tasks($1, $2, $3)';

export class Outbox {
  readonly #calls: Calls;
  readonly #carrier: Carrier;
  readonly #bell: Bell | undefined;
  readonly #again: number;
  readonly #logger: Logger;
  #silence: (() => void) | undefined;
  #sending: Promise<void> = Promise.resolve();
  #stopped = false;
  #rung = false;
  /** Ends the pause. */
  #wake: (() => void) | undefined;

  constructor(database: Database, carrier: Carrier, options: OutboxOptions = {}) {
    const { gateway, again = AGAIN, logger = makeLogger('warn') } = options;
    this.#calls = new Calls(database);
    this.#carrier = carrier;
    this.#bell = gateway;
    this.#again = again;
    this.#logger = logger;
  }

  start(): void {
    this.#silence = this.#bell?.onRows('execution', () => this.#ring());
    this.#sending = this.#run();
  }

  /** Sends nothing more. The carrier stays open. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#silence?.();
    this.#ring();
    await this.#sending;
  }

  #ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#rung = false;
      try {
        await this.#send();
      } catch (error) {
        // The gateway itself says that the database is away.
        const level = error instanceof Unavailable ? 'debug' : 'warn';
        this.#logger[level]({ err: error, carrier: this.#carrier.name }, 'tasks could not be sent');
      }
      await this.#pause();
    }
  }

  async #send(): Promise<void> {
    const values = [this.#carrier.name, BATCH, this.#again];
    const rows = await this.#calls.transaction((sql) => sql.query(SEND, values, row));
    if (rows.length === 0) return;
    const tasks: ReadyTask[] = rows.map(({ task_id, attempt, agent_type, priority }) => ({
      taskId: task_id,
      attempt,
      agentType: agent_type,
      priority,
    }));
    await inTime(this.#carrier.send(tasks));
  }

  #pause(): Promise<void> {
    if (this.#rung) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), LOOK);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }
}

async function inTime(sending: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the carrier has not accepted them in time')), SEND_TIMEOUT);
  });
  try {
    await Promise.race([sending, late]);
  } finally {
    clearTimeout(timer);
  }
}
