import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programPath, whyLacking } from '../../support/installed.mjs';
import { pgbenchScript, startDatabase, type Table } from '../harness/database.js';
import { atEnd } from '../harness/ends.js';
import { startGateway } from '../harness/gateway.js';
import { startLoad } from '../harness/load.js';
import { meter } from '../harness/processes.js';
import type { Must, Scenario } from '../harness/scenario.js';

const KEYS = 1_000;

const TABLES: Readonly<Record<string, { table: Table; keys: number }>> = {
  'with its indexes': { table: 'indexed', keys: KEYS },
  'without indexes': { table: 'plain', keys: KEYS },
  Rowcast: { table: 'attached', keys: KEYS },
  'Rowcast, and both indexes': { table: 'attached_indexed', keys: KEYS },
  'Rowcast, one channel': { table: 'attached', keys: 1 },
  'NOTIFY per row': { table: 'notify', keys: KEYS },
};

const shape = (connections: number) => `${connections} connections`;
const FEW = ['with its indexes', 'Rowcast', 'NOTIFY per row'];

const run = promisify(execFile);

/** Each turn begins after as many seconds of the same: until the gateway is awake, each commit rings, and waits for the one before. */
const WARM_UP = 1;

export const writers: Scenario = {
  name: 'B4',
  title: 'Writers, single-row commits',
  about: `pgbench, one INSERT a transaction, ${KEYS} keys, a live gateway with one subscriber. The table that Rowcast is compared with has a primary
key and an index on (key, created_at), as a table has that is read by key and time. Once attached, the index (key, seq) serves for both; a
table that keeps the two beside it is measured as well. Each turn begins after ${WARM_UP} s of the same. NOTIFY: the same table with a trigger that sends each row, and one listener.`,
  seconds: 2,
  rounds: 3,
  shapes: [
    { name: shape(1), systems: FEW },
    { name: shape(16), systems: FEW },
    { name: shape(64), systems: Object.keys(TABLES) },
  ],
  columns: [
    { figure: 'commits', title: 'commits/s', digits: 0 },
    { figure: 'cpu', title: 'PostgreSQL CPU µs a row', digits: 0 },
    { figure: 'gatewayCpu', title: 'gateway CPU µs a row', digits: 0 },
  ],
  chart: 'commits',
  async open({ leaveOut }) {
    const why = whyLacking('pgbench');
    if (why !== null) for (const system of Object.keys(TABLES)) leaveOut(system, why);
    const folder = mkdtempSync(join(tmpdir(), 'rowcast-bench-pgbench-'));
    atEnd(() => rmSync(folder, { recursive: true, force: true }));
    const database = await startDatabase();
    const admin = await database.connect();
    for (const table of new Set(Object.values(TABLES).map((each) => each.table))) {
      await admin.query(`INSERT INTO ${table} (key) SELECT i::text FROM generate_series(1, ${KEYS}) i ORDER BY 1`);
    }
    await admin.query('VACUUM ANALYZE');
    const gateway = await startGateway(database.url);
    const load = await startLoad({ port: gateway.port, mode: 'rowcast', chan: 'attached:1' });
    const listener = await database.connect();
    const pgbench = programPath('pgbench') ?? '';
    return async ({ system, shape: name, seconds }) => {
      const { table, keys } = TABLES[system] ?? { table: 'plain', keys: KEYS };
      const script = join(folder, `${table}-${keys}.sql`);
      writeFileSync(script, pgbenchScript(table, keys));
      await admin.query('CHECKPOINT');
      if (table === 'notify') await listener.query('LISTEN rows');
      const write = (forSeconds: number) => {
        const options = ['-n', '-M', 'prepared', '-j', '2', '-c', `${Number.parseInt(name, 10)}`, '-f', script];
        return run(pgbench, [...options, '-T', `${forSeconds}`, database.url]);
      };
      await write(WARM_UP);
      const read = meter({ postgres: database.cpu, server: gateway.cpu, client: load.cpu });
      const { stdout } = await write(Math.ceil(seconds));
      const { cores, seconds: took } = read();
      if (table === 'notify') await listener.query('UNLISTEN rows');
      const commits = Number(/tps = ([\d.]+) \(without/.exec(stdout)?.[1]);
      const rows = Number(/actually processed: (\d+)/.exec(stdout)?.[1]);
      const perRow = (part: number | undefined) => (((part ?? 0) * took) / rows) * 1e6;
      return { figures: { commits, cpu: perRow(cores.postgres), gatewayCpu: perRow(cores.server) }, cores };
    };
  },
  musts: (results) => {
    const ratio = (connections: number, to: string, of = 'Rowcast') =>
      results.ratio([of, shape(connections)], [to, shape(connections)], 'commits');
    const ofTable = (connections: number, floor: number, aim: number): Must => ({
      figure: `${shape(connections)}, of the table with its indexes`,
      value: ratio(connections, 'with its indexes'),
      floor,
      aim,
      better: 'more',
    });
    const one = ratio(64, 'NOTIFY per row', 'Rowcast, one channel');
    return [
      ofTable(1, 0.7, 0.8),
      ofTable(16, 0.55, 0.65),
      ofTable(64, 0.55, 0.65),
      {
        figure: '64 connections, against NOTIFY per row',
        value: ratio(64, 'NOTIFY per row'),
        floor: 2.8,
        aim: 3.5,
        better: 'more',
      },
      {
        figure: '64 connections into one channel, against NOTIFY per row',
        value: one,
        floor: 0.9,
        aim: 1.2,
        better: 'more',
      },
    ];
  },
};
