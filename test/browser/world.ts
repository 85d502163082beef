import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll } from '@jest/globals';
import pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { metricOf } from '../support/metrics.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { type HttpProxy, startHttpProxy } from '../support/proxy-http.js';
import { type Pages, servePages } from './pages.js';

/** In milliseconds. */
const PACE = 5;

/** What a page needs: a database with a writer, a gateway, and a web server at another origin that has the page. */
export interface World {
  readonly gateway: Gateway;
  readonly pages: Pages;
  /** A proxy in front of the gateway, for the running test. */
  proxy(settings?: Partial<Pick<HttpProxy, 'upgrades' | 'buffer' | 'forbidden'>>): Promise<HttpProxy>;
  /** A network that fails, between the pages and the gateway, for the running test. */
  network(): Promise<FaultProxy>;
  /** Names of channels that nobody else uses. */
  channel(): string;
  channels(count: number): string[];
  /** Publishes so many events in each channel, in one transaction; the data of each is its seq. */
  publish(channels: string | readonly string[], count: number): Promise<void>;
  /** The same one by one, slowly enough that things can happen meanwhile. */
  publishSlowly(channels: string | readonly string[], count: number): Promise<void>;
  /** Goes on so while `work` runs, and gives how many there were in each channel. */
  publishDuring(channels: string | readonly string[], work: () => Promise<unknown>): Promise<number>;
  /** The value of a gauge or counter of the gateway. */
  metric(name: string): Promise<number>;
}

/** As in the environment; they may depend on where the pages are. */
export type Settings = Record<string, string> | ((pages: Pages) => Record<string, string>);

/** One world for the test file that calls this. */
export function useWorld(settings: Settings = {}): World {
  let database: TestDatabase;
  let gateway: Gateway;
  let pages: Pages;
  let writers: pg.Pool;
  const proxies: { close(): Promise<void> }[] = [];
  let named = 0;

  beforeAll(async () => {
    [database, pages] = await Promise.all([createDatabase(), servePages()]);
    writers = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
    const chosen = typeof settings === 'function' ? settings(pages) : settings;
    gateway = await startTestGateway(database.url, { ...NO_RATES, ...chosen });
  });
  afterEach(async () => {
    await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
  });
  afterAll(async () => {
    await pages.close();
    await gateway.stop();
    await writers.end();
    await database.drop();
  });

  const channel = () => {
    named += 1;
    return `message:${named}`;
  };
  const publishOne = async (channels: string | readonly string[]) => {
    await publish(writers, [channels].flat(), 1);
    await pause(PACE);
  };
  return {
    get gateway() {
      return gateway;
    },
    get pages() {
      return pages;
    },
    async proxy(settings) {
      const proxy = Object.assign(await startHttpProxy(gateway.url), settings);
      proxies.push(proxy);
      return proxy;
    },
    async network() {
      const network = await startProxy(Number(new URL(gateway.url).port));
      proxies.push(network);
      return network;
    },
    channel,
    channels: (count) => Array.from({ length: count }, channel),
    publish: (channels, count) => publish(writers, [channels].flat(), count),
    async publishSlowly(channels, count) {
      for (let row = 0; row < count; row++) await publishOne(channels);
    },
    async publishDuring(channels, work) {
      let done = false;
      const working = work().finally(() => {
        done = true;
      });
      let count = 0;
      for (; !done; count += 1) await publishOne(channels);
      await working;
      return count;
    },
    metric: (name) => metricOf(gateway.url, `rowcast_${name}`),
  };
}

/** The number of an event is the count of those before it, which the writer finds out as any service would. */
async function publish(writers: pg.Pool, channels: readonly string[], count: number): Promise<void> {
  await writers.query(
    `INSERT INTO rowcast.messages (key, event_type, data)
     SELECT key, 'step', to_jsonb(coalesce((SELECT max(seq) FROM rowcast.messages AS m WHERE m.key = k.key), 0) + i)
       FROM unnest($1::text[]) AS k (key), generate_series(1, $2::int) AS i ORDER BY i`,
    [channels.map((channel) => channel.replace(/^message:/, '')), count],
  );
}
