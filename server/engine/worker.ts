/**
 * Runs agents: claims tasks while it has free slots, and calls the agent of each. In the process of a gateway it is woken by
 * the rows that the gateway reads; elsewhere it asks every 20 ms while there is work, and ever less often while there is none.
 */
import { hostname } from 'node:os';
import { type Logger, makeLogger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import type { Database } from '../ports/database.js';
import { type AgentFunction, Attempt } from './attempt.js';
import { type ClaimedTask, Leases } from './leases.js';

export interface Agent {
  /** How many tasks of the type run at the same time in this worker. Default: 1. */
  readonly slots?: number;
  readonly run: AgentFunction;
}

/** A gateway of this process, or the context of an extension. */
export interface Bell {
  /** Calls `listener` when rows of a stream have arrived. Returns a function that ends that. */
  onRows(stream: string, listener: () => void): () => void;
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
  readonly logger?: Logger;
}

/** Delays between claims that found nothing, in milliseconds: the first, its factor, and the maximum. */
const POLL = { first: 20, factor: 1.5, max: 500 };
/** How often the leases of running tasks are checked, in milliseconds: an agent elsewhere is aborted within that. */
const CHECK = 500;
/** The minimum time between two checks that rows have caused, in milliseconds. */
const CHECK_SOON = 20;
/** How often it says that it is alive, in milliseconds. */
const SEEN = 10_000;
/** How long `stop` lets running tasks go on by default, in milliseconds. */
const DRAIN = 30_000;

type State = 'new' | 'running' | 'stopping' | 'stopped';

export class AgentWorker {
  readonly name: string;
  readonly #leases: Leases;
  readonly #options: WorkerOptions;
  readonly #logger: Logger;
  /** new → running → stopping → stopped */
  #state: State = 'new';
  readonly #running = new Map<Attempt, Promise<void>>();
  readonly #used = new Map<string, number>();
  #hunting: Promise<void> = Promise.resolve();
  /** Ends the pause of the hunt. */
  #wake: (() => void) | undefined;
  #rung = false;
  #silence: (() => void) | undefined;
  readonly #timers: NodeJS.Timeout[] = [];
  #checking = false;
  #checkSoon: NodeJS.Timeout | undefined;

  constructor(database: Database, options: WorkerOptions) {
    this.name = options.name ?? `${hostname().slice(0, 100)}-${crypto.randomUUID().slice(0, 8)}`;
    this.#leases = new Leases(database);
    this.#options = options;
    this.#logger = options.logger ?? makeLogger('warn');
  }

  /** The number of tasks that run here now. */
  get running(): number {
    return this.#running.size;
  }

  /** Begins to take tasks. Rejects if the database cannot be reached, or the engine is not installed. */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new Error('a worker is started once');
    await this.#seen();
    this.#state = 'running';
    this.#silence = this.#options.gateway?.onRows('execution', () => {
      this.#ring();
      this.#checkSoon ??= setTimeout(() => {
        this.#checkSoon = undefined;
        void this.#check();
      }, CHECK_SOON);
    });
    this.#timers.push(
      setInterval(() => void this.#seen().catch(() => {}), SEEN),
      setInterval(() => void this.#check(), CHECK),
    );
    this.#hunting = this.#hunt();
  }

  /**
   * Takes no further tasks, and waits for those that run, up to `drain` milliseconds. The others are given back: they begin
   * again elsewhere with the same attempt. Call it at SIGTERM.
   */
  async stop({ drain = DRAIN }: { drain?: number } = {}): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopping';
    this.#ring();
    await this.#hunting;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, drain);
    });
    await Promise.race([patience, Promise.all(this.#running.values())]);
    clearTimeout(timer);
    await Promise.all([...this.#running.keys()].map((attempt) => attempt.release()));
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#checkSoon);
    this.#silence?.();
    this.#state = 'stopped';
  }

  #seen(): Promise<unknown> {
    const types = Object.keys(this.#options.agents);
    const slots = types.reduce((sum, type) => sum + this.#slots(type), 0);
    return this.#leases.seen(this.name, types, slots, this.#options.version);
  }

  #slots(type: string): number {
    return this.#options.agents[type]?.slots ?? 1;
  }

  get #free(): string[] {
    return Object.keys(this.#options.agents).filter((type) => (this.#used.get(type) ?? 0) < this.#slots(type));
  }

  #ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async #hunt(): Promise<void> {
    let delay = POLL.first;
    while (this.#state === 'running') {
      this.#rung = false;
      const free = this.#free;
      const task = free.length === 0 ? null : await this.#claim(free);
      if (task !== null) {
        delay = POLL.first;
        this.#begin(task);
        continue;
      }
      const rung = await this.#pause(free.length === 0 ? undefined : delay);
      delay = rung ? POLL.first : Math.min(POLL.max, delay * POLL.factor);
    }
  }

  /** Resolves after the delay, or when rung: then to true. */
  #pause(delay: number | undefined): Promise<boolean> {
    if (this.#rung) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = delay === undefined ? undefined : setTimeout(() => done(false), delay);
      const done = (rung: boolean) => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve(rung);
      };
      this.#wake = () => done(true);
    });
  }

  async #claim(types: readonly string[]): Promise<ClaimedTask | null> {
    try {
      return await this.#leases.claim(this.name, types);
    } catch (error) {
      // While the database is away, each attempt would say so.
      const level = error instanceof Unavailable ? 'debug' : 'warn';
      this.#logger[level]({ err: error, worker: this.name }, 'no task could be claimed');
      return null;
    }
  }

  #begin(task: ClaimedTask): void {
    const type = task.agent_type;
    const run = this.#options.agents[type]?.run;
    if (run === undefined) throw new Error(`there is no agent ${type}`);
    this.#used.set(type, (this.#used.get(type) ?? 0) + 1);
    const attempt = new Attempt(task, { leases: this.#leases, worker: this.name, logger: this.#logger, run });
    const ended = async () => {
      const next = await attempt.run();
      this.#running.delete(attempt);
      this.#used.set(type, (this.#used.get(type) ?? 1) - 1);
      if (next !== null && this.#state === 'running') this.#begin(next);
      else if (next !== null) await this.#leases.release(next).catch(() => {});
      // What this one has made ready may be of any type.
      this.#ring();
    };
    this.#running.set(attempt, ended());
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
