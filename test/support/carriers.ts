/** Every carrier at one database, each with agent types of its own, so that a promise can be put to all of them at once. */
import type { AgentFunction } from '../../server/engine/attempt.js';
import type { Bell, Carrier, ReadyTask, Workplace } from '../../server/engine/carrier.js';
import { openCarrier } from '../../server/engine/carriers/open.js';
import { Outbox } from '../../server/engine/outbox.js';
import { type Agent, AgentWorker, type WorkerOptions } from '../../server/engine/worker.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import type { EngineDatabase, PlannedTask } from './engine.js';
import { lacks } from './installed.mjs';
import type { Random } from './random.js';
import { type Redis, startRedis } from './redis.js';

const silent = makeLogger('silent');

/** Passes on what its carrier is given and brings, all of it or, while it is lossy, once, twice or not at all. */
class Lossy implements Carrier {
  readonly name: string;
  lossy = false;
  readonly #carrier: Carrier;
  readonly #random: Random;

  constructor(carrier: Carrier, random: Random) {
    this.name = carrier.name;
    this.#carrier = carrier;
    this.#random = random;
  }

  send(tasks: readonly ReadyTask[]): Promise<void> {
    return this.#carrier.send(tasks.flatMap((task) => this.#copies(task)));
  }

  consume(workplace: Workplace) {
    return this.#carrier.consume({
      ...workplace,
      carry: async (...news) => {
        await Promise.all(this.#copies(news).map((copy) => workplace.carry(...copy)));
      },
    });
  }

  close(): Promise<void> {
    return this.#carrier.close();
  }

  #copies<T>(one: T): T[] {
    if (!this.lossy) return [one];
    const chance = this.#random.next();
    if (chance < 0.2) return [];
    return chance < 0.4 ? [one, one] : [one];
  }
}

export interface CarrierWorld {
  readonly name: string;
  /** What `openCarrier` takes; null for the built-in one. */
  readonly url: string | null;
  /** One of its agent types. */
  type(name: string): string;
  /** A plan for its agents. */
  plan(tasks: readonly PlannedTask[]): PlannedTask[];
  /** Starts a worker of this process in place of the last one. */
  work(agents: Record<string, AgentFunction | Agent>, options?: Partial<WorkerOptions>): Promise<AgentWorker>;
  rest(): Promise<void>;
  lossy(is: boolean): void;
}

export interface CarrierWorlds {
  readonly worlds: readonly CarrierWorld[];
  readonly service: ConnectedDatabase;
  stop(): Promise<void>;
}

/** `again`: after how many milliseconds what has not begun is sent again. `bell`: wakes workers and outboxes. */
export async function carrierWorlds(
  database: EngineDatabase,
  random: Random,
  { again = 100, bell }: { again?: number; bell?: Bell } = {},
): Promise<CarrierWorlds> {
  const service = connectDatabase(database.url);
  const redis: Redis | null = lacks('the engine with BullMQ', 'redis') ? null : await startRedis();
  const ends: (() => Promise<void>)[] = [];
  const urls: Record<string, string | null> = {
    claims: null,
    ...(redis && { bullmq: redis.url }),
    dbos: database.url,
  };
  const worlds = await Promise.all(
    Object.entries(urls).map(async ([name, url]) => {
      const carrier = url === null ? null : new Lossy(await openCarrier(url, silent), random.branch(name));
      const outbox = carrier && new Outbox(service, carrier, { again, logger: silent, ...(bell && { gateway: bell }) });
      outbox?.start();
      let worker: AgentWorker | undefined;
      const world: CarrierWorld = {
        name,
        url,
        type: (type) => `${name} ${type}`,
        plan: (tasks) => tasks.map((task) => ({ ...task, agent_type: world.type(task.agent_type ?? 'a') })),
        async work(agents, options = {}) {
          await world.rest();
          const named = Object.entries(agents).map(([type, agent]) => [
            world.type(type),
            typeof agent === 'function' ? { run: agent } : agent,
          ]);
          worker = new AgentWorker(service, {
            agents: Object.fromEntries(named),
            logger: silent,
            ...(carrier && { carrier }),
            ...(bell && { gateway: bell }),
            ...options,
          });
          await worker.start();
          return worker;
        },
        async rest() {
          await worker?.stop({ drain: 0 });
          worker = undefined;
        },
        lossy(is) {
          if (carrier !== null) carrier.lossy = is;
        },
      };
      ends.push(async () => {
        await world.rest();
        await outbox?.stop();
        await carrier?.close();
      });
      return world;
    }),
  );
  return {
    worlds,
    service,
    async stop() {
      await Promise.all(ends.map((end) => end()));
      await service.close();
      await redis?.stop();
    },
  };
}

/** Puts the same to all carriers at once. Rejects with what each of them has failed in. */
export async function onAll(
  { worlds }: CarrierWorlds,
  scenario: (world: CarrierWorld) => Promise<void>,
): Promise<void> {
  const outcomes = await Promise.allSettled(worlds.map(scenario));
  const failed = outcomes.flatMap((outcome, index) =>
    outcome.status === 'rejected' ? [new Error(`${worlds[index]?.name}: ${outcome.reason}`)] : [],
  );
  if (failed.length > 0) throw new AggregateError(failed, failed.map(({ message }) => message).join('\n'));
}
