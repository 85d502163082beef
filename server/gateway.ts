import { systemClock } from './clock.js';
import type { Config } from './config.js';
import { Doorbell } from './doorbell.js';
import { makeDoors } from './doors.js';
import { Hub } from './hub/hub.js';
import type { Logger } from './logger.js';
import { Metrics } from './metrics.js';
import { type Peers, type TailRead, Unavailable } from './ports.js';
import { AdvisoryGate } from './postgres/gate.js';
import { History } from './postgres/history.js';
import { Listener } from './postgres/listener.js';
import { Retention } from './postgres/retention.js';
import { Tail } from './postgres/tail.js';

export interface Gateway {
  /** `http://127.0.0.1:4400` */
  readonly url: string;
  /** Sends every client away to come back elsewhere, and ends all that was started. */
  stop(): Promise<void>;
}

/** Wires the way of an event, from the bottom up, and opens the doors last. Rejects if the database cannot be had. */
export async function startGateway(
  config: Config,
  databaseUrl: string,
  logger: Logger,
  metrics = new Metrics(),
  peers: Peers | null = null,
): Promise<Gateway> {
  const { queryTimeout, silenceTimeout, safetyInterval, awakeInterval, wakeRate, sleepRate } = config;
  const clock = systemClock;
  const pageLimits = { rows: config.pageRows, bytes: config.pageBytes };
  let lastRead = Number.NEGATIVE_INFINITY;

  const tail: Tail = new Tail({
    databaseUrl,
    silenceTimeout,
    logger,
    metrics,
    onMoved: (movement) => hub.moved(movement),
    onUncertain: () => hub.recheckAll(),
    onConnected: () => {
      doorbell.ring();
      hub.recheckAll(); // it may be another server than before
    },
  });
  const history = new History({
    databaseUrl,
    poolSize: config.poolSize,
    queryTimeout,
    limits: pageLimits,
    tail,
    logger,
    metrics,
  });
  const hub = new Hub({
    log: history,
    clock,
    logger,
    limits: pageLimits,
    cacheBytes: config.cacheBytes,
    linger: config.channelLinger,
  });
  const doorbell = new Doorbell({
    read: async (): Promise<TailRead> => {
      try {
        const read = await tail.read();
        lastRead = clock.now();
        return read;
      } catch (error) {
        // A connection that is gone is logged once, by its session, not at every read that would need it.
        if (!(error instanceof Unavailable)) logger.error({ err: error }, 'the tail could not be read');
        throw error;
      }
    },
    newestTransaction: () => tail.newestTransaction(),
    ringOthers: () => tail.ring(),
    gate: config.doorbell === 'gated' ? new AdvisoryGate(databaseUrl, logger) : null,
    clock,
    metrics,
    wakeRate,
    sleepRate,
    awakeInterval,
    safetyInterval,
  });
  const listener = new Listener({
    databaseUrl,
    silenceTimeout,
    logger,
    onRing: () => doorbell.ring(),
    onConnected: () => doorbell.ring(),
  });

  const retention = new Retention({ databaseUrl, interval: config.pruneInterval, logger });

  const doors = makeDoors({
    config,
    hub,
    metrics,
    logger,
    peers,
    health: () => ({
      database: tail.connected,
      listen: listener.connected,
      tail: clock.now() - lastRead < safetyInterval + silenceTimeout,
    }),
    channels: async (limit) => {
      const listed = await history.channels(limit);
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
    await doorbell.stop();
    await Promise.all([listener.stop(), tail.stop(), history.stop(), retention.stop()]);
  };
  let url: string;
  try {
    await tail.start();
    await listener.start();
    retention.start();
    url = await doors.open();
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  logger.info({ url, streams: tail.catalog.streams.map(({ name }) => name) }, 'gateway started');
  return { url, stop };
}
