import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { Metrics } from '../../server/ground/metrics.js';
import { systemClock } from '../../server/ports/clock.js';
import { AdvisoryGate } from '../../server/postgres/gate.js';
import { Tail } from '../../server/postgres/tail.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import { silent } from '../support/fakes.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

/** The steps of a writer, and of a gateway that wakes and falls asleep; it reads on until all up to the number ended. */
const WRITER = ['insert', 'probe', 'commit'];
const GATEWAY = ['take', 'release', 'number', 'read'];

/** Holds each insert back, between its row and its probe, until it is let go. */
const HOLD_BACK = `
  CREATE FUNCTION public.hold_back() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock(current_setting('test.turnstile')::bigint);
    RETURN NULL;
  END $$;
  -- Triggers of one kind run in the order of their names: this one before the probe.
  CREATE TRIGGER a_hold_back AFTER INSERT ON rowcast.messages FOR EACH STATEMENT EXECUTE FUNCTION public.hold_back();`;

/** Every order of the steps of all, each keeping its own. */
function orders(sequences: readonly (readonly string[])[]): string[][] {
  if (sequences.every(({ length }) => length === 0)) return [[]];
  return sequences.flatMap(([first, ...rest], index) =>
    first === undefined ? [] : orders(sequences.with(index, rest)).map((order) => [first, ...order]),
  );
}

describe.each(clusters())('the steps of the doorbell on PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let ear: pg.Client;
  let turnstile: pg.Client;
  let found: string[] = [];
  let tail: Tail;
  let gate: AdvisoryGate;
  const writers: pg.Client[] = [];
  let rings = 0;

  beforeAll(async () => {
    database = await createDatabase(cluster);
    ear = await connectWriter(database.url);
    turnstile = await connectWriter(database.url);
    await turnstile.query(HOLD_BACK);
    for (const at of [1, 2]) {
      const writer = await connectWriter(database.url);
      await writer.query(`SET test.turnstile = ${at}`);
      writers.push(writer);
    }
    tail = new Tail({
      databaseUrl: database.url,
      silenceTimeout: 10_000,
      logger: silent,
      clock: systemClock,
      metrics: new Metrics(),
    });
    await tail.start({
      moved: ({ rows }) => found.push(...[...(rows ?? [])].map(({ json }) => JSON.parse(json).data.row as string)),
      recheckAll: () => {},
      recheck: () => {},
    });
    gate = new AdvisoryGate(database.url, silent);
    const pids = writers.map(processId);
    ear.on('notification', ({ processId }) => {
      if (pids.includes(processId)) rings += 1;
    });
    await ear.query('LISTEN rowcast');
  });
  afterAll(async () => {
    await tail.stop();
    await Promise.all([ear, turnstile, ...writers].map((client) => client.end()));
    await database.drop();
  });

  /** Rings of writers so far. What was sent before a query of the listener is delivered with its answer. */
  async function heard(): Promise<number> {
    await ear.query('SELECT');
    return rings;
  }

  /** Until the slow writer has its row, and has not probed. */
  async function heldBack(): Promise<void> {
    const [slow] = writers as [pg.Client];
    const waits = `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = $1 AND NOT granted`;
    const waiting = async () => (await ear.query(waits, [processId(slow)])).rows.length > 0;
    await until(waiting, { what: 'the writer to have its row' });
  }

  /** Takes the steps in this order; then everything has ended, and the gateway sleeps. Returns rows by their writer. */
  async function walk(order: readonly string[], name: string, lastRead: boolean) {
    const [slow, quick] = writers as [pg.Client, pg.Client];
    const state = { skipped: [] as string[], late: [] as string[], stranded: [] as string[] };
    const insert = (by: pg.Client, row: string) =>
      by.query(`INSERT INTO rowcast.messages (key, event_type, data) VALUES ($1, 'log', $2)`, [row, { row }]);
    let inserting: Promise<unknown> = Promise.resolve();
    let doorbell = 'asleep' as 'asleep' | 'awake' | 'settling';
    let upTo = 0n;
    const read = async () => {
      const { xmin } = await tail.read();
      if (doorbell === 'settling' && upTo > 0n && (xmin > upTo || !lastRead)) doorbell = 'asleep';
    };
    const commit = async (work: () => Promise<unknown>, row: string) => {
      const before = await heard();
      await work();
      const rang = (await heard()) > before;
      if (!rang) state.skipped.push(row);
      if (!rang && doorbell === 'settling') state.late.push(row);
      if (rang && doorbell === 'asleep') await tail.read();
    };
    const steps: Record<string, () => Promise<unknown>> = {
      insert: async () => {
        await turnstile.query('SELECT pg_advisory_lock(1)');
        await slow.query('BEGIN');
        inserting = insert(slow, `${name} slow`);
        await heldBack();
      },
      probe: async () => {
        await turnstile.query('SELECT pg_advisory_unlock(1)');
        await inserting;
      },
      commit: () => commit(() => slow.query('COMMIT'), `${name} slow`),
      other: () => commit(() => insert(quick, `${name} quick`), `${name} quick`),
      take: () => {
        doorbell = 'awake';
        return new Promise<void>((onTaken, reject) =>
          gate.take({ onTaken, onLost: () => reject(new Error('the gate was lost')) }),
        );
      },
      release: async () => {
        await gate.leave();
        doorbell = 'settling';
      },
      number: async () => {
        upTo = await tail.newestTransaction();
      },
      read,
    };
    found = [];
    for (const row of [`${name} slow`, `${name} quick`]) await tail.open(`message:${row}`);
    for (const step of order) {
      await steps[step]?.();
      // Till it sleeps it reads on the interval; when nobody has ended since, that would change nothing.
      if (['commit', 'other'].includes(step) && doorbell === 'settling') await read();
    }
    const sleeps = async () => {
      if (doorbell !== 'asleep') await read();
      return doorbell === 'asleep';
    };
    await until(sleeps, { what: 'the gateway to sleep' });
    state.stranded = [`${name} slow`, `${name} quick`].filter((row) => order.includes('other') || row.endsWith('slow'));
    state.stranded = state.stranded.filter((row) => !found.includes(row));
    await tail.read(); // so that the next order does not find what this one has stranded
    return state;
  }

  test('I9: in every order of the steps, a row that nobody rang for is found by the last reads', async () => {
    const all = orders([WRITER, ['other'], GATEWAY]);
    expect(all.length).toBe(280);
    const counts = { skipped: 0, late: 0 };
    for (const [index, order] of all.entries()) {
      const { skipped, late, stranded } = await walk(order, `${index}`, true);
      expect({ order, stranded }).toEqual({ order, stranded: [] });
      counts.skipped += skipped.length;
      counts.late += late.length;
    }
    process.stderr.write(`doorbell on PostgreSQL: ${all.length} orders, ${JSON.stringify(counts)}\n`);
    expect(counts.late).toBeGreaterThan(10);
  }, 120_000);

  test('I9: without the last read, that waits for a transaction number, some orders strand a row', async () => {
    const stranding: string[] = [];
    for (const [index, order] of orders([WRITER, GATEWAY]).entries()) {
      const { stranded } = await walk(order, `without ${index}`, false);
      if (stranded.length > 0) stranding.push(order.join(' '));
    }
    expect(stranding).toEqual([
      'insert take probe release number read commit',
      'take insert probe release number read commit',
    ]);
  }, 60_000);
});
