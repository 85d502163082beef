import { Access } from './access/access.js';
import { Doorbell } from './doorbell/doorbell.js';
import { makeDoors } from './doors.js';
import { StatusBroadcaster } from './executions/service/status-broadcaster.js';
import type { Logger } from './ground/logger.js';
import { Metrics } from './ground/metrics.js';
import { Hub } from './hub/hub.js';
import { systemClock } from './ports/clock.js';
import type { Peers } from './ports/door.js';
import { apiDatabase } from './postgres/api-database.js';
import { PostgresAuthorizer } from './postgres/authorizer.js';
import { AdvisoryGate } from './postgres/gate.js';
import { Listener } from './postgres/listener.js';
import { makePool } from './postgres/pool.js';
import { Retention } from './postgres/retention.js';
import { READ_SETTINGS, soon } from './postgres/session.js';
import { TablePages } from './postgres/table-pages.js';
import { Tail } from './postgres/tail.js';
import { StoredTickets } from './postgres/tickets.js';
import type { Config } from './settings/config.js';

/** Connections to the database that decide who may read, and keep the tickets. */
const ACCESS_POOL = 4;

/** One policy may take so long, and all that are asked together; in milliseconds. */
const DECISION_TIMEOUT = 2_000;

/** How long a request of the API waits for somebody else's transaction, in milliseconds: others wait for its connection. */
const API_LOCK_TIMEOUT = 2_000;

/** Connections besides its pools: the tail, the listener, the gate, and for moments two more (retention, eviction). */
const SINGLE_CONNECTIONS = 5;

/** How many connections to the database one gateway opens, at most. */
export function connectionsOf({ poolSize, apiPoolSize }: Pick<Config, 'poolSize' | 'apiPoolSize'>): number {
  return SINGLE_CONNECTIONS + ACCESS_POOL + poolSize + apiPoolSize;
}

export interface Gateway {
  /** `http://127.0.0.1:4400` */
  readonly url: string;
  /** Sends every client away to come back elsewhere, and ends all that was started. */
  stop(): Promise<void>;
}

/** A gateway in this process, which may subscribe without a way in between. */
export interface LocalGateway extends Gateway {
  readonly broadcaster: StatusBroadcaster;
}

/** Wires the way of an event, from the bottom up, and opens the doors last. Rejects if the database cannot be had. */
export async function startGateway(
  config: Config,
  databaseUrl: string,
  logger: Logger,
  metrics = new Metrics(),
  peers: Peers | null = null,
): Promise<LocalGateway> {
  const { queryTimeout, silenceTimeout, safetyInterval, awakeInterval, wakeRate, sleepRate } = config;
  const clock = systemClock;
  const pageLimits = { rows: config.pageRows, bytes: config.pageBytes };

  const tail = new Tail({ databaseUrl, silenceTimeout, clock, logger, metrics });
  const pages = new TablePages({
    databaseUrl,
    poolSize: config.poolSize,
    queryTimeout,
    limits: pageLimits,
    catalog: tail.catalog,
    logger,
    metrics,
  });
  const hub = new Hub({
    feed: tail,
    pages,
    clock,
    logger,
    limits: pageLimits,
    cacheBytes: config.cacheBytes,
    linger: config.channelLinger,
  });
  // Before the client gives up the connection: an answer that says so leaves it usable.
  const giveUp = (after: number) => `SET statement_timeout = ${Math.ceil(Math.min(after, queryTimeout / 2))}`;
  const accessPool = makePool({
    databaseUrl,
    name: 'access',
    size: ACCESS_POOL,
    queryTimeout,
    logger,
    prepare: giveUp(DECISION_TIMEOUT),
    lasting: true,
  });
  const access = new Access({
    authorizer: new PostgresAuthorizer(accessPool, logger),
    clock,
    interval: config.accessInterval,
  });
  const doorbell = new Doorbell({
    tail,
    gate: new AdvisoryGate(databaseUrl, logger),
    clock,
    metrics,
    wakeRate,
    sleepRate,
    awakeInterval,
    safetyInterval,
  });
  const listener = new Listener({ databaseUrl, silenceTimeout, logger, doorbell, access });

  const apiPool = makePool({
    databaseUrl,
    name: 'api',
    size: config.apiPoolSize,
    queryTimeout,
    logger,
    prepare: `${READ_SETTINGS}; ${giveUp(queryTimeout)}; SET lock_timeout = ${API_LOCK_TIMEOUT}`,
  });

  const retention = new Retention({ databaseUrl, interval: config.pruneInterval, logger });

  const doors = makeDoors({
    config,
    hub,
    access,
    metrics,
    logger,
    peers,
    databaseFor: apiDatabase(apiPool, config.apiPoolSize),
    tickets: new StoredTickets(accessPool, config.ticketTtl),
    health: () => ({
      database: tail.connected,
      listen: listener.connected,
      tail: clock.now() - tail.lastRead < safetyInterval + silenceTimeout,
    }),
    channels: async (limit) => {
      const listed = await pages.channels(limit);
      return listed.map((entry) => ({ ...entry, subscribers: hub.channels.get(entry.channel)?.readers ?? 0 }));
    },
  });
  metrics.gauge('connections', 'Clients that are connected.', () => doors.connections);
  metrics.gauge('channels', 'Channels that somebody reads.', () => hub.channels.size);
  metrics.gauge('subscriptions', 'Subscriptions of all clients.', () => hub.readers);
  metrics.gauge('cache_bytes', 'Pages in memory.', () => hub.cacheBytes);

  const stop = async () => {
    await doors.close();
    hub.close();
    access.stop();
    await doorbell.stop();
    await Promise.all([
      listener.stop(),
      tail.stop(),
      pages.stop(),
      retention.stop(),
      soon(accessPool.end()),
      soon(apiPool.end()),
    ]);
  };
  let url: string;
  try {
    tail.ringWhenConnected(doorbell);
    await tail.start(hub);
    await listener.start();
    retention.start();
    url = await doors.open();
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  logger.info({ url, streams: tail.catalog.streams.map(({ name }) => name) }, 'gateway started');
  return { url, broadcaster: new StatusBroadcaster(doors.inProcess, clock, logger), stop };
}
