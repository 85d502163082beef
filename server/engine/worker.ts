/**
 * Runs agents: a carrier brings it tasks, and it calls the agent of each. Without one it claims them. It says that it is
 * alive, and aborts the agents whose lease is over.
 */
import { hostname } from 'node:os';
import { retrying } from '../executions/rules/retrying.js';
import { type Logger, makeLogger } from '../ground/logger.js';
import type { Database } from '../ports/database.js';
import { type AgentFunction, Attempt, type AttemptOptions } from './attempt.js';
import type { Bell, Carrier, Consumer } from './carrier.js';
import { Claims } from './carriers/claims.js';
import { type ClaimedTask, Leases } from './leases.js';

export interface Agent {
  /** How many tasks of the type run at the same time in this worker. Default: 1. */
  readonly slots?: number;
  readonly run: AgentFunction;
}

export interface WorkerOptions {
  /** By agent type. */
  readonly agents: Readonly<Record<string, Agent>>;
  /** Names it in events. Default: the host and a random part. */
  readonly name?: string;
  /** For the list of workers. */
  readonly version?: string;
  /** Wakes it at once. Without it, it polls. */
  readonly gateway?: Bell;
  /** Brings its tasks: see `openCarrier`. Without one it claims them. */
  readonly carrier?: Carrier;
  readonly logger?: Logger;
}

/** How often the leases of running tasks are checked, in milliseconds: an agent elsewhere is aborted within that. */
const CHECK = 500;
/** The minimum time between two checks that rows have caused, in milliseconds. */
const CHECK_SOON = 20;
/** How often it says that it is alive, in milliseconds. */
const SEEN = 10_000;
/** How long `stop` lets running tasks go on by default, and how long it waits for the carrier then, in milliseconds. */
const DRAIN = 30_000;
const GOODBYE = 3_000;
/**
 * How what was brought is begun while the database is away: it is not given up, so that a worker that cannot reach the
 * database keeps its slots busy and takes nothing more that others could begin.
 */
const BEGIN = { retries: Number.POSITIVE_INFINITY, base: 100, cap: 1_000 };

type State = 'new' | 'running' | 'stopping' | 'stopped';

interface Running {
  /** Resolves when the attempt has ended. */
  readonly ended: Promise<ClaimedTask | null>;
  /** The worker waits for the agent no longer. */
  readonly leave: () => void;
}

export class AgentWorker {
  readonly name: string;
  readonly #leases: Leases;
  readonly #options: WorkerOptions;
  readonly #logger: Logger;
  readonly #carrier: Carrier;
  readonly #slots: ReadonlyMap<string, number>;
  /** new → running → stopping → stopped, and new → stopped */
  #state: State = 'new';
  readonly #stopping = new AbortController();
  readonly #running = new Map<Attempt, Running>();
  #stopped: Promise<void> | undefined;
  #consumer: Promise<Consumer> | undefined;
  #silence: (() => void) | undefined;
  readonly #timers: NodeJS.Timeout[] = [];
  #saying: Promise<void> | undefined;
  #checking = false;
  #checkSoon: NodeJS.Timeout | undefined;

  constructor(database: Database, options: WorkerOptions) {
    const { agents, carrier, gateway: bell, logger = makeLogger('warn'), name } = options;
    this.name = name ?? `${hostname().slice(0, 100)}-${crypto.randomUUID().slice(0, 8)}`;
    this.#leases = new Leases(database);
    this.#options = options;
    this.#logger = logger;
    this.#carrier = carrier ?? new Claims({ leases: this.#leases, bell, logger });
    this.#slots = new Map(Object.entries(agents).map(([type, { slots = 1 }]) => [type, slots]));
  }

  /** The number of tasks that run here now. */
  get running(): number {
    return this.#running.size;
  }

  /**
   * Begins to take tasks. Rejects if the database or the carrier cannot be reached, or the engine is not installed. A worker
   * that is stopped meanwhile takes none.
   */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new Error('a worker is started once');
    await this.#say();
    if (this.#stopping.signal.aborted) return this.#leaveCarrier();
    this.#state = 'running';
    this.#silence = this.#options.gateway?.onRows('execution', () => {
      this.#checkSoon ??= setTimeout(() => {
        this.#checkSoon = undefined;
        void this.#check();
      }, CHECK_SOON);
    });
    this.#timers.push(
      setInterval(() => void this.#say().catch(() => {}), SEEN),
      setInterval(() => void this.#check(), CHECK),
    );
    try {
      this.#consumer = this.#carrier.consume({
        name: this.name,
        slots: this.#slots,
        carry: (taskId, attempt) => this.#carry(taskId, attempt),
        run: (task) => this.#run(task, (...report) => this.#completeAndClaim(...report)),
      });
      await this.#consumer;
    } catch (error) {
      await this.stop({ drain: 0 });
      throw error;
    }
  }

  /**
   * Takes no further tasks, and waits for those that run, up to `drain` milliseconds. The others are given back: they begin
   * again elsewhere with the same attempt. Call it at SIGTERM.
   */
  async stop({ drain = DRAIN }: { drain?: number } = {}): Promise<void> {
    this.#stopping.abort(new Error('the worker stops'));
    if (this.#state === 'new') this.#state = 'stopped';
    if (this.#state === 'stopped') return;
    this.#state = 'stopping';
    this.#stopped ??= this.#leaveCarrier();
    await within(drain, Promise.all([...this.#running.values()].map(({ ended }) => ended)));
    const left = [...this.#running];
    await Promise.all(left.map(([attempt]) => attempt.release()));
    for (const [, { leave }] of left) leave();
    await within(GOODBYE, this.#stopped);
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#checkSoon);
    this.#silence?.();
    this.#state = 'stopped';
  }

  async #leaveCarrier(): Promise<void> {
    const said = (error: unknown) => {
      this.#logger.warn({ err: error, worker: this.name }, 'the carrier could not be left');
    };
    // Nothing more is sent to one that stops. What it says meanwhile, on another connection, could be committed after this.
    const heard = this.#saying?.catch(() => {}) ?? Promise.resolve();
    const carriesNothing = heard.then(() => this.#leases.carries(this.name, this.#carrier.name, new Map())).catch(said);
    // One that is still connecting is stopped when it has connected; `start` rejects with what it fails in.
    const consumer = await this.#consumer?.catch(() => undefined);
    await Promise.all([carriesNothing, consumer?.stop().catch(said)]);
  }

  /** Says that it is alive, and what it carries; once at a time. */
  #say(): Promise<void> {
    this.#saying ??= this.#seen().finally(() => {
      this.#saying = undefined;
    });
    return this.#saying;
  }

  async #seen(): Promise<void> {
    const slots = [...this.#slots.values()].reduce((sum, more) => sum + more, 0);
    await this.#leases.seen(this.name, [...this.#slots.keys()], slots, this.#options.version);
    if (this.#stopped === undefined) await this.#leases.carries(this.name, this.#carrier.name, this.#slots);
  }

  async #carry(taskId: string, attempt: number): Promise<void> {
    const { signal } = this.#stopping;
    try {
      const begin = () => this.#leases.begin(taskId, attempt, this.name);
      const task = await retrying(begin, { ...BEGIN, signal });
      if (task !== null) await this.#run(task, (...report) => this.#complete(...report));
    } catch (error) {
      // It is still ready, and is sent again.
      if (!signal.aborted) this.#logger.warn({ err: error, task: taskId }, 'a task that was brought could not begin');
    }
  }

  async #complete(...[task, output, usage]: Parameters<AttemptOptions['complete']>): Promise<null> {
    await this.#leases.complete(task, output, usage);
    return null;
  }

  async #completeAndClaim(...[task, output, usage]: Parameters<AttemptOptions['complete']>) {
    return (await this.#leases.completeAndClaim(task, this.name, output, usage)).next;
  }

  async #run(task: ClaimedTask, complete: AttemptOptions['complete']): Promise<ClaimedTask | null> {
    const run = this.#options.agents[task.agent_type]?.run;
    if (this.#state !== 'running' || run === undefined) return this.#giveBack(task);
    const attempt = new Attempt(task, { leases: this.#leases, logger: this.#logger, run, complete });
    const toEnd = async () => {
      const next = await attempt.run();
      // Before it counts as ended, so that `stop` waits for it.
      const kept = next === null || this.#state === 'running' ? next : await this.#giveBack(next);
      this.#running.delete(attempt);
      return kept;
    };
    const ended = toEnd();
    // A race with a promise that lives as long as the worker would keep every task for as long.
    return new Promise((resolve, reject) => {
      this.#running.set(attempt, { ended, leave: () => resolve(null) });
      ended.then(resolve, reject);
    });
  }

  async #giveBack(task: ClaimedTask): Promise<null> {
    await this.#leases.release(task).catch(() => {});
    return null;
  }

  /** Aborts the agents whose lease is over. */
  async #check(): Promise<void> {
    if (this.#checking || this.#running.size === 0) return;
    this.#checking = true;
    try {
      const attempts = [...this.#running.keys()];
      const lost = await this.#leases.lost(attempts.map(({ task }) => task));
      for (const { task_id, answer } of lost) {
        const attempt = attempts.find(({ task }) => task.task_id === task_id);
        if (attempt !== undefined && this.#running.has(attempt) && answer !== 'continue') attempt.lost(answer);
      }
    } catch (error) {
      this.#logger.debug({ err: error }, 'the leases could not be checked');
    } finally {
      this.#checking = false;
    }
  }
}

/** Resolves when the work is done, or after so many milliseconds. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([patience, work]);
  clearTimeout(timer);
}
