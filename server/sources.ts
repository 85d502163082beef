/**
 * Composes the half of a gateway that faces the database: the tail, the doorbell and the hub, which deliver events; access
 * and tickets; and the pool of the HTTP API. It owns all connections to the database. `startGateway` starts and stops it.
 */
import type pg from 'pg';
import { Access } from './access/access.js';
import { Doorbell } from './doorbell/doorbell.js';
import type { Logger } from './ground/logger.js';
import type { Metrics } from './ground/metrics.js';
import type { Health, ListedChannel } from './http/app.js';
import { Arrivals } from './hub/arrivals.js';
import { Hub } from './hub/hub.js';
import type { Clock } from './ports/clock.js';
import type { DatabaseFor } from './ports/database.js';
import type { Tickets } from './ports/principal.js';
import type { Rows } from './ports/rows.js';
import { apiDatabase } from './postgres/api-database.js';
import { PostgresAuthorizer } from './postgres/authorizer.js';
import { ConnectionHealth } from './postgres/connection-health.js';
import { AdvisoryGate } from './postgres/gate.js';
import { Listener } from './postgres/listener.js';
import { makePool } from './postgres/pool.js';
import { Retention } from './postgres/retention.js';
import { READ_SETTINGS, withGrace } from './postgres/session.js';
import { TablePages } from './postgres/table-pages.js';
import { Tail } from './postgres/tail.js';
import { StoredTickets } from './postgres/tickets.js';
import type { Config } from './settings/config.js';
import type { DatabaseUrl } from './settings/database-url.js';

/** Database connections for access decisions; and for decisions that are slow, one at a time, and tickets. */
const QUICK_POOL = 2;
const SLOW_POOL = 2;

/** Connections of the HTTP API for short reads, such as the status of executions. */
const SHORT_POOL = 1;

/** The statement timeout of a batch of access decisions, and of one that is slow, in milliseconds. */
const BATCH_TIMEOUT = 250;
const DECISION_TIMEOUT = 2_000;

/** The lock timeout of requests of the API, in milliseconds: other requests need the connection of one that waits. */
const API_LOCK_TIMEOUT = 2_000;

/** Connections outside the pools: the tail, the listener, the gate, and three that are short-lived (retention, eviction, probes of streams). */
const SINGLE_CONNECTIONS = 6;

/** Returns the maximum number of database connections of one gateway. */
export function connectionsOf({ poolSize, apiPoolSize }: Pick<Config, 'poolSize' | 'apiPoolSize'>): number {
  return SINGLE_CONNECTIONS + QUICK_POOL + SLOW_POOL + poolSize + apiPoolSize;
}

export interface SourcesOptions {
  readonly config: Config;
  readonly databaseUrl: DatabaseUrl;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** The parts are constructed with the parts that they call. Only the tail gets its hub and its doorbell later, when it starts. */
export class Sources {
  readonly hub: Hub;
  readonly arrivals = new Arrivals();
  readonly access: Access;
  readonly tickets: Tickets;
  /** Snapshots of channels. */
  readonly rows: Rows;
  /** The database, for the HTTP API. */
  readonly databaseFor: DatabaseFor;
  readonly #clock: Clock;
  /** Maximum time between reads of a working tail, in milliseconds. */
  readonly #maxReadInterval: number;
  readonly #connections: ConnectionHealth;
  readonly #tail: Tail;
  readonly #pages: TablePages;
  readonly #doorbell: Doorbell;
  readonly #listener: Listener;
  readonly #retention: Retention;
  readonly #pools: readonly pg.Pool[];

  constructor({ config, databaseUrl, clock, logger, metrics }: SourcesOptions) {
    const { queryTimeout, silenceTimeout, safetyInterval, awakeInterval, wakeRate, sleepRate } = config;
    this.#clock = clock;
    this.#maxReadInterval = safetyInterval + silenceTimeout;

    this.#connections = new ConnectionHealth(logger);
    const health = this.#connections;

    const limits = { rows: config.pageRows, bytes: config.pageBytes };
    const onRows = (streams: ReadonlySet<string>) => this.arrivals.ring(streams);
    const tail = new Tail({ databaseUrl, silenceTimeout, clock, logger, health, metrics, onRows });
    const { catalog } = tail;
    const { poolSize, cacheBytes, eventBytes, channelLinger: linger } = config;
    const reading = { databaseUrl, poolSize, queryTimeout, limits, eventBytes };
    const pages = new TablePages({ ...reading, catalog, logger, health, metrics });
    const hub = new Hub({ feed: tail, pages, clock, logger, limits, cacheBytes, linger });

    // Shorter than the query timeout of the client: a statement that the server cancels leaves the connection usable.
    const statementTimeout = (limit: number) =>
      `SET statement_timeout = ${Math.ceil(Math.min(limit, queryTimeout / 2))}`;
    const accessPool = (size: number, timeout: number) =>
      makePool({
        databaseUrl,
        name: 'access',
        size,
        queryTimeout,
        logger,
        health,
        prepare: statementTimeout(timeout),
        keepIdle: true,
      });
    const quick = accessPool(QUICK_POOL, BATCH_TIMEOUT);
    const slow = accessPool(SLOW_POOL, DECISION_TIMEOUT);
    const authorizer = new PostgresAuthorizer({ quick, slow }, logger, metrics);
    const access = new Access({ authorizer, clock, interval: config.accessInterval });

    const gate = new AdvisoryGate(databaseUrl, logger, health);
    const rates = { wakeRate, sleepRate, awakeInterval, safetyInterval };
    const doorbell = new Doorbell({ tail, gate, clock, metrics, ...rates });
    const listener = new Listener({ databaseUrl, silenceTimeout, logger, health, doorbell, access });

    const apiPool = (size: number) =>
      makePool({
        databaseUrl,
        name: 'api',
        size,
        queryTimeout,
        logger,
        health,
        prepare: `${READ_SETTINGS}; ${statementTimeout(queryTimeout)}; SET lock_timeout = ${API_LOCK_TIMEOUT}`,
      });
    const connections = Math.max(1, config.apiPoolSize - SHORT_POOL);
    const long = apiPool(connections);
    const short = apiPool(SHORT_POOL);

    this.hub = hub;
    this.access = access;
    this.tickets = new StoredTickets(slow, config.ticketTtl);
    this.databaseFor = apiDatabase(long, short, connections);
    this.#tail = tail;
    this.#pages = pages;
    this.rows = pages;
    this.#doorbell = doorbell;
    this.#listener = listener;
    this.#retention = new Retention({ databaseUrl, interval: config.pruneInterval, logger, health });
    this.#pools = [quick, slow, long, short];
    metrics.gauge('channels', 'Channels with readers.', () => hub.channels.size);
    metrics.gauge('subscriptions', 'Subscriptions of all clients.', () => hub.readers);
    metrics.gauge('streams_troubled', 'Streams that cannot be read, or not all of their rows.', () => tail.unreadable);
    const lag = () => Math.max(0, clock.now() - tail.lastRead) / 1000;
    metrics.gauge('tail_lag_seconds', 'Time since the last read of the tail that succeeded.', lag, 'max');
    metrics.gauge('cache_bytes', 'Pages in memory.', () => hub.cacheBytes);
  }

  /** The names of all streams. */
  get streams(): readonly string[] {
    return this.#tail.catalog.streams.map(({ name }) => name);
  }

  health(): Health {
    return {
      checks: {
        database: this.#tail.connected,
        listen: this.#listener.connected,
        tail: this.#clock.now() - this.#tail.lastRead < this.#maxReadInterval,
      },
      connections: this.#connections.reasons,
      streams: this.#tail.streams,
    };
  }

  /** Lists at most `limit` channels of each stream. */
  async channels(limit: number): Promise<ListedChannel[]> {
    const listed = await this.#pages.channels(limit);
    return listed.map((entry) => ({ ...entry, subscribers: this.hub.channels.get(entry.channel)?.readers ?? 0 }));
  }

  /** Connects to the database. If it rejects, the caller must call `stop`. */
  async start(): Promise<void> {
    this.#tail.ringWhenConnected(this.#doorbell);
    await this.#tail.start(this.hub);
    await this.#listener.start();
    this.#retention.start();
  }

  async stop(): Promise<void> {
    this.hub.close();
    this.access.stop();
    await this.#doorbell.stop();
    await Promise.all([
      this.#listener.stop(),
      this.#tail.stop(),
      this.#pages.stop(),
      this.#retention.stop(),
      ...this.#pools.map((pool) => withGrace(pool.end())),
    ]);
  }
}
