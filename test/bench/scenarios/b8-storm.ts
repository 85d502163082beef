import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../../server/ground/free-port.js';
import { startDatabase } from '../harness/database.js';
import { type Gateway, LIFTED, startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Scenario } from '../harness/scenario.js';

const CLIENTS = 5_000;
const CHANNELS = 500;
/** Rows of each channel that are written while the gateway is down. */
const ROWS = 10;
/** How long a client waits before it tries again, in milliseconds. */
const RETRY = 20;
const GIVE_UP = 60_000;
const SHAPE = 'kill -9';

/** What one address must not have less of, so that the load client can be 5,000 clients at all; rates are the defaults. */
const { ROWCAST_MAX_CONNECTIONS, ROWCAST_ADDRESS_CONNECTIONS, ROWCAST_USER_CONNECTIONS } = LIFTED;
const SYSTEMS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'Rowcast, default rates': { ROWCAST_MAX_CONNECTIONS, ROWCAST_ADDRESS_CONNECTIONS, ROWCAST_USER_CONNECTIONS },
  'Rowcast, rates lifted': LIFTED,
};

export const storm: Scenario = {
  name: 'B8',
  title: 'Reconnect storm',
  about: `${CLIENTS} clients of one address on ${CHANNELS} channels. The gateway is killed with SIGKILL, ${ROWS} rows are written into each channel, it is started
again; each client tries every ${RETRY} ms. From the gateway listening again to all clients having all rows. A second gateway on the same database
serves one reader meanwhile: how late its rows are, and how long the INSERTs take, tells whether others notice.`,
  seconds: 0,
  rounds: 3,
  shapes: [{ name: SHAPE, systems: Object.keys(SYSTEMS) }],
  columns: [
    { figure: 'seconds', title: 's until all have all', digits: 2 },
    { figure: 'live', title: 's until all are live', digits: 2 },
    { figure: 'start', title: 's to start', digits: 2 },
    { figure: 'gatewayCpu', title: 'gateway CPU s', digits: 2 },
    { figure: 'elsewhere', title: 'latest row elsewhere ms', digits: 0 },
    { figure: 'insert', title: 'slowest INSERT ms', digits: 0 },
    { figure: 'gaps', title: 'gaps', digits: 0 },
  ],
  chart: 'seconds',
  async open(run) {
    const database = await startDatabase();
    const [writer, other] = [await database.connect(), await database.connect()];
    const [clients, channels] = [run.scale(CLIENTS), run.scale(CHANNELS)];
    const fill = (rows: number) =>
      writer.query(
        `INSERT INTO attached (key, n, t, m) SELECT i::text, j, 0, '\`'
         FROM generate_series(0, $1::int - 1) i, generate_series(1, $2::int) j ORDER BY i::text, j`,
        [channels, rows],
      );
    await fill(20);
    await writer.query('VACUUM ANALYZE');
    const elsewhere = await startGateway(database.url);
    const reader = await startLoad({ port: elsewhere.port, mode: 'rowcast', chan: 'attached:elsewhere', sample: 1 });
    const port = await freePort();
    const start = (limits: Readonly<Record<string, string>>) =>
      startGateway(database.url, { ...limits, ROWCAST_PORT: `${port}` });

    /** One row every 20 ms for the reader elsewhere, until it is stopped; resolves with the slowest INSERT. */
    const pulse = () => {
      let [on, slowest] = [true, 0];
      const done = (async () => {
        for (; on; await delay(20)) {
          const at = performance.now();
          await other.query(
            `INSERT INTO attached (key, t, m) VALUES ('elsewhere', (extract(epoch from clock_timestamp()) * 1e6)::bigint, '\`')`,
          );
          slowest = Math.max(slowest, performance.now() - at);
        }
        return slowest;
      })();
      return () => {
        on = false;
        return done;
      };
    };

    return async ({ system }) => {
      const before: Gateway = await start(LIFTED);
      const load = await startLoad({
        port,
        mode: 'rowcast',
        n: clients,
        m: channels,
        chan: 'attached:%d',
        sample: 1,
        inflight: 256,
        reconnect: RETRY,
      });
      const base = await load.count();
      await before.stop('SIGKILL');
      await fill(ROWS);
      await delay(200);
      load.reset();
      reader.reset();
      const began = performance.now();
      const gateway = await start(SYSTEMS[system] ?? LIFTED);
      const listening = performance.now();
      const stopPulse = pulse();
      const read = meter({ server: gateway.cpu, postgres: database.cpu, client: load.cpu });
      let live = Number.NaN;
      let all = Number.NaN;
      while (Number.isNaN(all) && performance.now() - listening < GIVE_UP) {
        const seen = await load.snapshot();
        if (Number.isNaN(live) && seen.live === clients) live = performance.now();
        if (seen.live === clients && seen.rows - base >= clients * ROWS) all = performance.now();
        await delay(20);
      }
      const { cores } = read();
      const insert = await stopPulse();
      const { worst } = await reader.snapshot();
      const { gaps } = await load.snapshot();
      const figures = {
        seconds: (all - listening) / 1000,
        live: (live - listening) / 1000,
        start: (listening - began) / 1000,
        gatewayCpu: gateway.cpu(),
        elsewhere: worst,
        insert,
        gaps,
      };
      await load.stop();
      await gateway.stop();
      return { figures, cores };
    };
  },
  musts: (results) => [
    {
      figure: 's until all have all, default rates',
      value: results.median('Rowcast, default rates', SHAPE, 'seconds'),
      floor: 8,
      aim: 8,
      better: 'less',
    },
    {
      figure: 'latest row of a reader elsewhere, ms',
      value: results.median('Rowcast, default rates', SHAPE, 'elsewhere'),
      floor: 100,
      aim: 50,
      better: 'less',
    },
  ],
};
