/** What one connection, one delivery and one row cost, from the figures of a run; and the arithmetic over them. */
import { Results } from '../harness/figures.js';
import type { Report } from './report.js';

/** NaN: the run did not measure it. */
export interface Costs {
  /** CPU µs of the gateway for a delivery that is sent alone, and for one of many in a frame; and for each KB of the row. */
  readonly alone: number;
  readonly batched: number;
  readonly perKb: number;
  /** KB of the gateway for a connection, and CPU ms to open one. */
  readonly webSocketKb: number;
  readonly eventStreamKb: number;
  readonly open: number;
  /** MB of a gateway without connections. */
  readonly empty: number;
  /** CPU µs of PostgreSQL for a row that is inserted, and for a row that a further gateway reads. */
  readonly inserted: number;
  readonly read: number;
  /** CPU µs of a gateway for a row that it reads, whatever its readers. */
  readonly followed: number;
  /** CPU µs for a row of history: of the gateway, and of PostgreSQL. */
  readonly history: number;
  readonly historyRead: number;
}

export function costsOf({ scenarios }: Report): Costs {
  const median = (name: string, system: string, shape: string, figure: string) => {
    const outcome = scenarios.find((scenario) => scenario.name === name);
    return new Results(outcome?.turns ?? []).median(system, shape, figure);
  };
  const micros = (name: string, shape: string) => 1000 / median(name, 'Rowcast', shape, 'perCpu');
  const postgres = (shape: string) => median('gateways', 'Rowcast', shape, 'postgresCpu');
  return {
    alone: micros('B2a', '40 rows/s'),
    batched: micros('B2b', '10 rows a statement'),
    perKb: (micros('sizes', '30 KB') - micros('sizes', '100 B')) / 30,
    webSocketKb: median('B6', 'Rowcast, WebSocket', 'idle', 'kb'),
    eventStreamKb: median('B6', 'Rowcast, event stream', 'idle', 'kb'),
    open: median('B6', 'Rowcast, WebSocket', 'idle', 'openCpu'),
    empty: median('B6', 'Rowcast, WebSocket', 'idle', 'empty'),
    inserted: median('B4', 'Rowcast', '16 connections', 'cpu'),
    read: (postgres('8 gateways') - postgres('1 gateway')) / 7,
    followed: median('gateways', 'Rowcast', '8 gateways', 'gatewayCpu'),
    history: median('B7', 'raw WebSocket', 'from start', 'gatewayCpu'),
    historyRead: median('B7', 'raw WebSocket', 'from start', 'postgresCpu'),
  };
}

/** What is asked for. */
export interface Demand {
  /** Rows a second, each in a commit of its own, and how many clients read each. */
  readonly events: number;
  readonly readers: number;
  readonly bytes: number;
  readonly connections: number;
  readonly gateways: number;
}

/** Connections to the database of each gateway: those that listen, read the tail and hold the gate; for access; history; the HTTP API. */
export const DATABASE_CONNECTIONS = { session: 3, access: 4, history: 4, api: 4 };

/** A core that is busier has no room for a burst. */
const BUSY = 0.6;
/** More reads a second a gateway does not make: one every 5 ms. */
const READS = 200;

export interface Size {
  readonly deliveries: number;
  /** MB/s to clients, of all gateways. */
  readonly network: number;
  /** Cores of all gateways, if each delivery is sent alone, and if ten rows share a frame. */
  readonly cores: number;
  readonly coresBatched: number;
  /** MB of each gateway. */
  readonly memory: number;
  readonly databaseConnections: number;
  /** Cores of PostgreSQL: for the inserts, and for the gateways that read them. */
  readonly inserts: number;
  readonly reads: number;
  /** Seconds until all have connected again, if all gateways restart at once and nothing but CPU limits them. */
  readonly reconnect: number;
  /** The fewest gateways whose cores stay below 60 %. */
  readonly needed: number;
}

export function sizeOf(costs: Costs, { events, readers, bytes, connections, gateways }: Demand): Size {
  const deliveries = events * readers;
  const following = (Math.min(events, READS) * costs.followed) / 1e6;
  const delivering = (micros: number) => (deliveries * (micros + (costs.perKb * bytes) / 1024)) / 1e6;
  const each = Object.values(DATABASE_CONNECTIONS).reduce((sum, count) => sum + count, 0);
  const alone = delivering(costs.alone);
  return {
    deliveries,
    network: (deliveries * bytes) / 1e6,
    cores: alone + following * gateways,
    coresBatched: delivering(costs.batched) + following * gateways,
    memory: costs.empty + (connections / gateways) * (costs.webSocketKb / 1024),
    databaseConnections: each * gateways,
    inserts: (events * costs.inserted) / 1e6,
    reads: (Math.min(events, READS) * gateways * costs.read) / 1e6,
    reconnect: ((connections / gateways) * costs.open) / 1000,
    needed: following < BUSY ? Math.max(1, Math.ceil(alone / (BUSY - following))) : Number.POSITIVE_INFINITY,
  };
}
