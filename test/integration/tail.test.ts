import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type pg from 'pg';
import { makeLogger } from '../../server/ground/logger.js';
import { Metrics } from '../../server/ground/metrics.js';
import { systemClock } from '../../server/ports/clock.js';
import type { Movement, Movements } from '../../server/ports/feed.js';
import { READ_SETTINGS } from '../../server/postgres/session.js';
import { FEW, MANY, MOVED_CHANNELS, tailStatement } from '../../server/postgres/statements.js';
import { Tail } from '../../server/postgres/tail.js';
import { runs } from '../property/seed.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const WRITERS = 4;
const CHANNELS = ['a', 'b', 'c'];
const RUNS = runs(25);

type Step =
  | { do: 'begin' | 'commit' | 'rollback' | 'savepoint' | 'rollback to'; writer: number }
  | { do: 'insert'; writer: number; channel: string; rows: number }
  | { do: 'read' };

const writer = fc.nat(WRITERS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('begin' as const), writer }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('commit' as const), writer }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('rollback' as const, 'savepoint' as const, 'rollback to' as const),
      writer,
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('insert' as const),
      writer,
      channel: fc.constantFrom(...CHANNELS),
      rows: fc.constantFrom(1, 1, 2, 700),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('read' as const) }) },
);

describe.each(clusters())('the tail on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let writers: pg.Client[];
  let reader: pg.Client;
  let tail: Tail;
  const movements: Movement[] = [];
  let uncertain = 0;
  const hub: Movements = {
    moved: (movement) => movements.push(movement),
    recheck: () => {
      uncertain += 1;
    },
    recheckAll: () => {
      uncertain += 1;
    },
  };

  beforeAll(async () => {
    database = await createDatabase(cluster);
    reader = await connectWriter(database.url);
    writers = await Promise.all(Array.from({ length: WRITERS }, () => connectWriter(database.url)));
    tail = new Tail({
      databaseUrl: database.url,
      silenceTimeout: 10_000,
      logger: makeLogger('error'),
      clock: systemClock,
      metrics: new Metrics(),
    });
    await tail.start(hub);
    uncertain = 0; // it is also told that there is a connection
  });
  afterAll(async () => {
    await tail.stop();
    await Promise.all([...writers, reader].map((client) => client.end()));
    await database.drop();
  });

  /** The heads that a statement sees that begins now. */
  async function visibleHeads(run: string): Promise<Map<string, number>> {
    const { rows } = await reader.query<{ channel: string; head: number }>(
      `SELECT 'message:' || key AS channel, max(seq)::int AS head FROM rowcast.messages WHERE key LIKE $1 GROUP BY key`,
      [`${run} %`],
    );
    return new Map(rows.map(({ channel, head }) => [channel, head]));
  }

  test('I2 I9: after each read it has told the head that is visible, whatever committed, failed or stays open', async () => {
    const seed = Number(process.env.ROWCAST_SEED ?? Date.now() % 2 ** 31);
    process.stdout.write(`tail on ${cluster.version}: seed ${seed}\n`);
    let run = 0;
    const property = fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      run += 1;
      for (const channel of CHANNELS) await tail.open(`message:${run} ${channel}`);
      const told = new Map<string, number>();
      const open = new Array<{ savepoint: boolean; locks: Set<string> } | null>(WRITERS).fill(null);
      const locked = (channel: string, by: number) => open.some((tx, other) => other !== by && tx?.locks.has(channel));
      const read = async () => {
        movements.length = 0;
        await tail.read();
        for (const { channel, head, rows } of movements) {
          const known = told.get(channel) ?? 0;
          if (rows !== null) expect(rows.from).toBe(known + 1);
          told.set(channel, Math.max(known, head));
        }
        expect(told).toEqual(await visibleHeads(`${run}`));
      };
      for (const now of steps) {
        if (now.do === 'read') {
          await read();
          continue;
        }
        const client = writers[now.writer];
        const tx = open[now.writer] ?? null;
        if (client === undefined) throw new Error('no such writer');
        if (now.do === 'insert') {
          const channel = `${run} ${now.channel}`;
          if (locked(channel, now.writer)) continue; // it would wait for the other writer
          await client.query(
            `INSERT INTO rowcast.messages (key, event_type) SELECT $1, 'log' FROM generate_series(1, $2::int)`,
            [channel, now.rows],
          );
          tx?.locks.add(channel);
        } else if (now.do === 'begin') {
          if (tx !== null) continue;
          await client.query('BEGIN');
          open[now.writer] = { savepoint: false, locks: new Set() };
        } else if (tx !== null) {
          if (now.do === 'rollback to' && !tx.savepoint) continue;
          if (now.do === 'savepoint') tx.savepoint = true;
          await client.query(now.do === 'rollback to' || now.do === 'savepoint' ? `${now.do} s` : now.do);
          if (now.do === 'commit' || now.do === 'rollback') open[now.writer] = null;
        }
      }
      for (const [index, tx] of open.entries()) if (tx !== null) await writers[index]?.query('COMMIT');
      await read();
    });
    await fc.assert(property, { seed, numRuns: RUNS, endOnFailure: true });
  }, 120_000);

  test('a statement whose channels are too many to name makes the hub ask for its own', async () => {
    const before = uncertain;
    await reader.query(
      `INSERT INTO rowcast.messages (key, event_type) SELECT 'wide ' || i, 'log' FROM generate_series(1, $1::int) i`,
      [MOVED_CHANNELS + 5],
    );
    await tail.read();
    expect(uncertain).toBe(before + 1);
    expect(await tail.open('message:wide 7')).toMatchObject({ floor: 1, head: 1 });
  });

  test('I9: what cannot be read in time makes the hub ask for its own, and the tail goes on', async () => {
    const hurried = new Tail({
      databaseUrl: database.url,
      silenceTimeout: 1_000,
      logger: makeLogger('silent'),
      clock: systemClock,
      metrics: new Metrics(),
    });
    const order: string[] = [];
    await hurried.start({
      moved: (movement) => movements.push(movement),
      recheckAll: () => {},
      recheck: () => {
        uncertain += 1;
        order.push('uncertain');
      },
    });
    try {
      order.length = 0; // it is also told that there is a connection
      await hurried.open('message:hurry');
      await reader.query(`SELECT rowcast.publish('message:hurry', 'log')`);
      await reader.query('BEGIN; LOCK TABLE rowcast.messages IN ACCESS EXCLUSIVE MODE');
      const before = uncertain;
      const reading = hurried.read();
      // The hub does not know this channel yet: it has to be there when all channels are asked.
      await hurried.open('execution:00000000-0000-4000-8000-000000000000');
      order.push('opened');
      await reading;
      expect(order).toEqual(['opened', 'uncertain']);
      expect(uncertain).toBe(before + 1);
      await reader.query('COMMIT');
      await reader.query(`SELECT rowcast.publish('message:hurry', 'log')`);
      // The stream is passed over until it was asked for by itself; then its channels are asked again.
      await until(async () => (await hurried.read()) && uncertain > before + 1, { what: 'the stream to be back' });
      expect(await hurried.open('message:hurry')).toMatchObject({ head: 2 });
      movements.length = 0;
      await reader.query(`SELECT rowcast.publish('message:hurry', 'log')`);
      await hurried.read();
      expect(movements).toMatchObject([{ channel: 'message:hurry', head: 3, rows: { from: 3, to: 3 } }]);
    } finally {
      await hurried.stop();
    }
    await tail.read();
  });

  test.each([
    { rows: 600, large: false, carried: 1 },
    { rows: 600, large: true, carried: 0 },
    { rows: MANY.rows + 1, large: false, carried: 0 },
  ])('I9: $rows rows in as many channels, large: $large', async ({ rows, large, carried }) => {
    const state = await tail.open('message:crowd 1');
    await tail.read();
    movements.length = 0;
    await reader.query(
      `INSERT INTO rowcast.messages (key, event_type, data) SELECT 'crowd ' || k, 'log', CASE WHEN k = 1 AND $2 THEN
         (SELECT jsonb_agg(md5(i::text)) FROM generate_series(1, 300) i) END FROM generate_series(1, $1::int) k`,
      [rows, large],
    );
    await tail.read();
    const head = (state?.head ?? 0) + 1;
    expect(movements).toMatchObject([{ channel: 'message:crowd 1', head }]);
    expect([...(movements[0]?.rows ?? [])].map(({ seq }) => seq)).toEqual(Array(carried).fill(head));
    tail.leave('message:crowd 1');
  });

  test('only the channels that are open are reported, from the call of `open` on until `leave`', async () => {
    const publish = () =>
      reader.query(`SELECT rowcast.publish('message:' || c, 'log') FROM unnest('{p,q,r}'::text[]) c`);
    const told = async () => {
      movements.length = 0;
      await tail.read();
      return movements.map(({ channel, head }) => `${channel} ${head}`).sort();
    };
    await tail.open('message:p');
    const opening = tail.open('message:q');
    await publish();
    const state = await opening;
    // What the state has already may be told again, and is no news to the hub.
    const first = await told();
    expect(first).toContain('message:p 1');
    expect(first).not.toContain('message:r 1');
    expect(state?.head === 1 || first.includes('message:q 1')).toBe(true);
    tail.leave('message:p');
    await publish();
    expect(await told()).toEqual(['message:q 2']);
    await tail.open('message:p');
    await publish();
    expect(await told()).toEqual(['message:p 3', 'message:q 3']);
  });

  test('the rows of a transaction that is still open cost a read nothing', async () => {
    const [open, other] = [reader, writers[0] as pg.Client];
    await open.query('BEGIN');
    await open.query(
      `INSERT INTO rowcast.messages (key, event_type) SELECT 'open', 'log' FROM generate_series(1, 50000)`,
    );
    await tail.open('message:open');
    await tail.read();
    const { rows } = await other.query<{ now: string }>('SELECT pg_current_snapshot()::text AS now');
    await other.query(READ_SETTINGS);
    const statement = tailStatement(
      tail.catalog.streams.map((stream) => ({ stream, texts: true })),
      FEW,
    ).replaceAll('$1', `'${rows[0]?.now}'`);
    const plan = await other.query(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${statement}`);
    // The rows of the transaction fill some 600 blocks of the table, and 200 of the index.
    expect(plan.rows[0]['QUERY PLAN'][0].Plan['Shared Hit Blocks']).toBeLessThan(50);
    movements.length = 0;
    await open.query('COMMIT');
    await tail.read();
    expect(movements).toMatchObject([{ channel: 'message:open', head: 50_000 }]);
  });
});
