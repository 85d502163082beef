/**
 * Whatever two sessions write to an attached table, its numbers are those of a model: in one statement or in many, with
 * savepoints, conflicts, MERGE, COPY, deletes and TRUNCATE in the same transaction, with triggers of the application that drop,
 * move or change a row, in every isolation level, and while the other session waits for the channel.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { runs, seed } from '../property/seed.js';
import { clusters, createDatabase, type TestDatabase } from '../support/database.js';
import {
  BODIES,
  type Channel,
  type Isolation,
  keyOf,
  Model,
  type NewRow,
  type Transaction,
} from '../support/numbering-model.js';
import { makeRandom, type Random } from '../support/random.js';
import { until } from '../support/until.js';
import { connectWriter, processId } from '../support/writer.js';

const STEPS = runs(220);
const KEYS = ['a', 'b', 'c'];
/** What a session whose snapshot is too old is told. */
const TOO_OLD = ['40001', '23505'];
const SEED = seed('numbering-property');

interface Session {
  readonly client: pg.Client;
  transaction: Transaction | null;
}

const AT = (id: string) => `date '2026-01-15' + interval '1 month' * (${id} % 2)`;
const INSERT = (table: string) => `INSERT INTO ${table} (key, id, at, body)
  SELECT r.key, r.id, ${AT('r.id')}, r.body FROM unnest($1::text[], $2::int[], $3::text[]) WITH ORDINALITY r(key, id, body, nth) ORDER BY nth`;
const MERGE = (table: string) => `MERGE INTO ${table} t
  USING (SELECT r.*, ${AT('r.id')} AS at FROM unnest($1::text[], $2::int[], $3::text[]) r(key, id, body)) r ON t.id = r.id AND t.at = r.at
  WHEN MATCHED THEN UPDATE SET body = 'merged' WHEN NOT MATCHED THEN INSERT (key, id, at, body) VALUES (r.key, r.id, r.at, r.body)`;

describe.each(clusters())('PostgreSQL $version', (cluster) => {
  let database: TestDatabase;
  let admin: pg.Client;
  let clients: pg.Client[];
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rowcast-copy-'));
    await chmod(folder, 0o755);
    database = await createDatabase(cluster);
    admin = await connectWriter(database.url);
    clients = [await connectWriter(database.url), await connectWriter(database.url)];
    for (const client of clients) await client.query(`SET lock_timeout = '20s'`);
    await admin.query(`
      CREATE TABLE ordinary (key text NOT NULL, id int, at date, body text, UNIQUE (id, at));
      CREATE TABLE partitioned (key text NOT NULL, id int, at date NOT NULL, body text, UNIQUE (id, at)) PARTITION BY RANGE (at);
      CREATE TABLE part_0 PARTITION OF partitioned FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
      CREATE TABLE part_1 PARTITION OF partitioned FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
      CREATE FUNCTION before_number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.body = 'dropped' THEN RETURN NULL; END IF;
        IF NEW.body = 'moved' THEN NEW.key := 'm'; END IF;
        RETURN NEW; END $$;
      CREATE FUNCTION after_number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.body = 'late' THEN RETURN NULL; END IF;
        RETURN NEW; END $$`);
    for (const table of ['ordinary', 'partitioned']) {
      await admin.query(`CREATE TRIGGER before_number BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION before_number();
        SELECT rowcast.attach('${table}', 'key');
        CREATE TRIGGER zzz_after_number BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION after_number()`);
    }
  });
  afterAll(async () => {
    await Promise.all([admin, ...clients].map((client) => client.end()));
    await database.drop();
    await rm(folder, { recursive: true });
  });

  async function expectEqual(client: pg.Client, table: string, channels: ReadonlyMap<string, Channel>): Promise<void> {
    const { rows } = await client.query<{ channel: string }>(`
      SELECT format('%s from %s: %s', c.key, c.floor, (SELECT string_agg(format('%s=%s', t.seq, t.id), ' ' ORDER BY t.seq)
          FROM ${table} t WHERE t.key = c.key)) AS channel
        FROM rowcast.channels c JOIN rowcast.streams s USING (stream_id) WHERE s.name = '${table}' ORDER BY c.key`);
    const lines = [...channels]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(
        ([key, { floor, rows }]) => `${key} from ${floor}: ${[...rows].map(([seq, id]) => `${seq}=${id}`).join(' ')}`,
      );
    expect(rows.map(({ channel }) => channel)).toEqual(lines);
  }

  test.each(['ordinary', 'partitioned'])(
    'I1 I2 I5: the numbers of a table (%s) are those of the model',
    async (table) => {
      for (const client of clients) await client.query('ROLLBACK');
      const r = makeRandom(SEED).branch(`${cluster.version} ${table}`);
      const model = new Model();
      const sessions = clients.map((client): Session => ({ client, transaction: null }));
      const done = new Map<string, number>();
      const count = (what: string) => done.set(what, (done.get(what) ?? 0) + 1);
      let nextId = 1;
      let sql = '';

      /** Which keys this session can write without waiting for the other. */
      const free = (keys: readonly string[], other: Session) => keys.filter((key) => !other.transaction?.mayBlock(key));

      async function end(session: Session, how: 'COMMIT' | 'ROLLBACK'): Promise<void> {
        const { transaction, client } = session;
        try {
          await client.query(how);
          if (how === 'COMMIT') transaction?.commit();
        } catch (error) {
          if (transaction?.isolation !== 'SERIALIZABLE' || (error as pg.DatabaseError).code !== '40001') throw error;
        }
        session.transaction = null;
        await expectEqual(admin, table, model.committed);
      }

      /** After an error: back to the last savepoint, or out of the transaction. */
      async function recover(session: Session): Promise<void> {
        if (session.transaction?.savepoints.length) {
          await session.client.query('ROLLBACK TO s');
          session.transaction.rollbackTo();
        } else await end(session, 'ROLLBACK');
      }

      /** Runs a statement that is to succeed, or to fail with one of `codes`. */
      async function run(session: Session, codes: readonly string[], work: () => Promise<unknown>): Promise<boolean> {
        const { transaction } = session;
        const code = await work().then(
          () => null,
          (error: pg.DatabaseError) => error.code ?? String(error),
        );
        if (code === null && codes.length === 0) return true;
        const expected = transaction?.isolation === 'SERIALIZABLE' ? [...codes, '40001'] : codes;
        expect(expected).toContain(code);
        await recover(session);
        return false;
      }

      function newRows(r: Random, keys: readonly string[]): NewRow[] {
        const shape = r.pick(['one', 'run', 'turns', 'blocks', 'any'] as const);
        const count = shape === 'one' ? 1 : r.int(2, 30);
        const key = r.pick(keys);
        return Array.from({ length: count }, (_, nth): NewRow => {
          const own = {
            one: key,
            run: key,
            turns: keys[nth % keys.length] ?? key,
            blocks: keys[Math.floor(nth / 9) % keys.length] ?? key,
            any: r.pick(keys),
          };
          return { key: own[shape], id: nextId++, body: r.chance(0.3) ? r.pick(BODIES) : 'plain' };
        });
      }

      /** Writes rows by one of the commands that write rows. */
      async function insert(session: Session, other: Session, r: Random): Promise<void> {
        const { client, transaction } = session;
        const keys = free(KEYS, other).filter((key) => transaction?.outdated(key) !== 'unknown');
        if (transaction === null || keys.length === 0) return;
        const mayMove = free(['m'], other).length > 0 && transaction.outdated('m') !== 'unknown';
        const way = r.pick(['insert', 'insert', 'insert', 'skip', 'update', 'merge', 'copy', 'fail'] as const);
        let rows = newRows(r, keys).filter(({ body }) => mayMove || body !== 'moved');
        const present = [...transaction.view()]
          .filter(([key]) => free([key], other).length > 0 && transaction.outdated(key) === 'no')
          .flatMap(([, channel]) => [...channel.rows.values()]);
        if (['skip', 'update', 'merge', 'fail'].includes(way) && present.length > 0) {
          const again = r.shuffled(present);
          rows = rows.map((row) => ({ ...row, id: (r.chance(0.3) && again.pop()) || row.id }));
        }
        // A row that a later trigger drops may fail for an old snapshot, or not: none of its number is written.
        rows = rows.filter((row) => row.body !== 'late' || transaction.outdated(row.key) !== 'fails');
        if (way === 'merge') rows = rows.slice(0, 1);
        if (rows.length === 0) return;
        const merged = (row: NewRow) => way === 'merge' && present.includes(row.id);
        const old = rows.some((row) => !merged(row) && transaction.outdated(keyOf(row) ?? '') === 'fails');
        const works = transaction.insert(rows, way === 'insert' || way === 'copy' ? 'fail' : way);
        const values = [rows.map(({ key }) => key), rows.map(({ id }) => id), rows.map(({ body }) => body)];
        const work = async () => {
          if (way === 'copy') {
            const file = join(folder, 'rows.csv');
            const month = (id: number) => (id % 2 === 0 ? '2026-01-15' : '2026-02-15');
            await writeFile(file, rows.map(({ key, id, body }) => `${key},${id},${month(id)},${body}\n`).join(''));
            sql = `COPY ${table} (key, id, at, body) FROM '${file}' WITH (FORMAT csv)`;
            return client.query(sql);
          }
          const conflict = {
            skip: 'ON CONFLICT DO NOTHING',
            update: `ON CONFLICT (id, at) DO UPDATE SET body = 'again'`,
          };
          sql = way === 'merge' ? MERGE(table) : INSERT(table);
          if (way === 'skip' || way === 'update') sql = `${sql} ${conflict[way]}`;
          return client.query(sql, values);
        };
        const succeeded = await run(session, old ? TOO_OLD : works ? [] : ['23505'], work);
        count(succeeded ? way : old ? 'too old' : 'failed');
      }

      async function remove(session: Session, other: Session, r: Random): Promise<void> {
        const { client, transaction } = session;
        const view = transaction?.view();
        const keys = free([...(view?.keys() ?? [])], other).filter((key) => transaction?.outdated(key) === 'no');
        if (transaction === null || keys.length === 0) return;
        const key = r.pick(keys);
        const rows = [...(view?.get(key)?.rows ?? [])];
        const part = table === 'partitioned' && r.chance(0.3) ? r.int(0, 1) : null;
        const among = rows.filter(([, id]) => part === null || id % 2 === part).map(([seq]) => seq);
        const many = r.int(1, 6);
        const seqs = r.pick([
          among.slice(0, many),
          among.slice(-many),
          among.slice(-1),
          among,
          r.shuffled(among).slice(0, many),
        ]);
        if (seqs.length === 0) return;
        sql = `DELETE FROM ${part === null ? table : `part_${part}`} WHERE key = '${key}' AND seq IN (${seqs.join()})`;
        transaction.remove(key, seqs);
        if (await run(session, [], () => client.query(sql))) count('delete');
      }

      /** The other session waits for the channel that this one holds, and gets the number after it. */
      async function wait(session: Session, other: Session, r: Random): Promise<void> {
        const held = [...KEYS, 'm'].filter((key) => session.transaction?.holds(key));
        if (held.length === 0 || other.transaction?.isolation !== 'READ COMMITTED') return;
        const rows = [{ key: r.pick(held), id: nextId++, body: 'plain' as const }];
        const waiting = other.client.query(INSERT(table), [[rows[0]?.key], [rows[0]?.id], ['plain']]);
        const waits = `SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`;
        await until(async () => (await admin.query(waits, [processId(other.client)])).rowCount, {
          what: 'the other to wait',
        });
        sql = r.chance(0.7) ? 'COMMIT' : 'ROLLBACK';
        await session.client.query(sql);
        if (sql === 'COMMIT') session.transaction?.commit();
        session.transaction = null;
        await waiting;
        other.transaction.insert(rows, 'fail');
        await expectEqual(admin, table, model.committed);
        count('waited');
      }

      for (let step = 0; step < STEPS; step++) {
        const exclusive = sessions.findIndex(({ transaction }) => transaction?.exclusive);
        const index = exclusive >= 0 ? exclusive : r.int(0, 1);
        const [session, other] = [sessions[index], sessions[1 - index]] as [Session, Session];
        const own = r.branch(`step ${step}`);
        try {
          if (session.transaction === null) {
            const isolation: Isolation =
              table === 'partitioned'
                ? 'READ COMMITTED'
                : own.pick(['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']);
            await session.client.query(`BEGIN ISOLATION LEVEL ${isolation}`);
            await session.client.query(`SELECT FROM ${table} LIMIT 1`);
            session.transaction = model.begin(isolation);
          }
          const { transaction, client } = session;
          const what = own.int(1, 100);
          if (what <= 50) await insert(session, other, own);
          else if (what <= 65) await remove(session, other, own);
          else if (what <= 72) {
            await client.query('SAVEPOINT s');
            transaction.savepoint();
          } else if (what <= 78 && transaction.savepoints.length > 0) {
            await client.query('ROLLBACK TO s');
            transaction.rollbackTo();
          } else if (what <= 81 && transaction.savepoints.length > 0) {
            await client.query('RELEASE s');
            transaction.release();
          } else if (what <= 84 && other.transaction === null && transaction.isolation === 'READ COMMITTED') {
            await client.query(`TRUNCATE ${table}`);
            transaction.truncate();
            count('truncate');
          } else if (what <= 90 && !transaction.exclusive) await wait(session, other, own);
          else if (what > 90) await end(session, what <= 98 ? 'COMMIT' : 'ROLLBACK');
          if (session.transaction?.isolation === 'READ COMMITTED')
            await expectEqual(client, table, session.transaction.view());
        } catch (error) {
          throw new Error(`step ${step} of ROWCAST_SEED=${SEED}, after ${sql}: ${(error as Error).message}`, {
            cause: error,
          });
        }
      }
      for (const session of sessions) if (session.transaction !== null) await end(session, 'ROLLBACK');
      await admin.query(`TRUNCATE ${table}`);
      process.stderr.write(`${table}: ${JSON.stringify(Object.fromEntries(done))}\n`);
    },
    60_000,
  );
});
