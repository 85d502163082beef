import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { type Gateway, startGateway } from '../../server/gateway.js';
import { Metrics } from '../../server/ground/metrics.js';
import { readConfig } from '../../server/settings/config.js';
import { seed } from '../property/seed.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { silent } from '../support/fakes.js';
import { seqs } from '../support/follow.js';
import { makeRandom } from '../support/random.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const SECONDS = Number(process.env.ROWCAST_SOAK_SECONDS || 10);
const WRITERS = 4;
const STRAGGLERS = 2;
/** Easily woken and soon asleep again. The first gateway makes no safety read in all that time. */
const RATES = { wakeRate: 60, sleepRate: 40 };
const GATEWAYS = [{ ...RATES, safetyInterval: 3_600_000 }, RATES];
/**
 * What a row may wait for, in milliseconds: while nothing dies, and while sessions are lost and found again. Less than
 * a silence of the writers, whose next ring would find what was left behind.
 */
const DEADLINE = { calm: 500, deaths: 5_000 };

/** Counts what the doorbell of a gateway does. */
class Counts extends Metrics {
  wakings = 0;
  sleeps = 0;
  #isAwake = false;

  override awake(awake: boolean): void {
    if (awake && !this.#isAwake) this.wakings += 1;
    if (!awake && this.#isAwake) this.sleeps += 1; // it settled before
    this.#isAwake = awake;
    super.awake(awake);
  }

  get asleep(): boolean {
    return !this.#isAwake;
  }
}

let database: TestDatabase;
let admin: pg.Client;
const gateways: Gateway[] = [];
const chosen = seed('soak');
const random = makeRandom(chosen);

beforeAll(async () => {
  database = await createDatabase();
  admin = await connectWriter(database.url);
});
afterAll(async () => {
  for (const gateway of gateways) await gateway.stop();
  await admin.end();
  await database.drop();
});

/** How the writers behave for a while: without pause, with pauses, or not at all. */
type Mood = 'burst' | 'trickle' | 'silence';

test(
  'I9: every row reaches both gateways in order, while they wake, sleep and lose their sessions',
  async () => {
    const counts = GATEWAYS.map(() => new Counts());
    for (const [index, metrics] of counts.entries()) {
      const config = { ...readConfig({ ROWCAST_PORT: '0' }), ...GATEWAYS[index] };
      gateways.push(await startGateway(config, database.url, silent, { metrics }));
    }
    let mood: Mood = 'trickle';
    let phase: keyof typeof DEADLINE = 'calm';
    let ended = false;
    let holds = 0;
    let deaths = 0;
    const waits = { calm: [] as number[], deaths: [] as number[] };

    /** When each row of a channel was committed, and how many each gateway's client has seen. */
    const channels = Array.from({ length: WRITERS + STRAGGLERS }, (_, index) => ({
      key: `soak ${index}`,
      random: random.branch(`writer ${index}`),
      committed: [] as { at: number; phase: keyof typeof DEADLINE }[],
      seen: gateways.map(() => [] as { seq: number; at: number }[]),
    }));
    for (const [at, gateway] of gateways.entries()) {
      const client = testClient({ url: gateway.url });
      for (const { key, seen } of channels) {
        const onEvent = ({ seq }: { seq: number }) => seen[at]?.push({ seq, at: fairNow() });
        const subscription = client.subscribe(`message:${key}`, { since: 'start', onEvent });
        await until(() => subscription.state === 'live', { what: `${key} to be live` });
      }
    }

    const write = async ({ key, random, committed }: (typeof channels)[number], straggles: boolean) => {
      const by = await connectWriter(database.url);
      const insert = () => by.query(`INSERT INTO rowcast.messages (key, event_type) VALUES ($1, 'log')`, [key]);
      while (!ended) {
        if (straggles && mood === 'burst') {
          // Mostly it finds the gate taken, and commits when the others are silent and the gateways would sleep.
          await delay(random.int(0, 400));
          await by.query('BEGIN');
          await insert();
          await delay(random.int(500, 2_500));
          await by.query('COMMIT');
          committed.push({ at: fairNow(), phase });
        } else if (straggles || mood === 'silence') {
          await delay(random.int(5, 40));
        } else {
          await insert();
          committed.push({ at: fairNow(), phase });
          await delay(mood === 'burst' ? random.int(0, 3) : random.int(40, 400));
        }
      }
      await by.end();
    };
    const moods = async () => {
      const by = random.branch('moods');
      while (!ended) {
        mood = by.pick<Mood>(['burst', 'burst', 'burst', 'trickle']);
        await delay(by.int(400, 900));
        mood = 'silence';
        await delay(by.int(500, 3_000));
      }
    };
    /** Counts how often the gate changes hands, and in the second half ends sessions of the gateways. */
    const nemesis = async () => {
      const by = random.branch('nemesis');
      const start = performance.now();
      let last: number | undefined;
      for (let killAt = (SECONDS / 2) * 1_000; !ended; await delay(10)) {
        const { rows } = await admin.query<{ pid: number }>(
          `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1919907683 AND objid = 1 AND granted
          AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
        );
        if (rows[0] !== undefined && rows[0].pid !== last) holds += 1;
        last = rows[0]?.pid;
        const time = performance.now() - start;
        if (time >= SECONDS * 1_000) ended = true;
        if (time < killAt) continue;
        if (phase === 'calm') expect(await unannounced()).toBe(0);
        phase = 'deaths';
        killAt = time + by.int(50, 600);
        const { rows: killed } = await admin.query(
          `SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = $1
          AND datname = current_database() ORDER BY random() LIMIT $2) AS victim`,
          [by.pick(['rowcast gate', 'rowcast gate', 'rowcast listener', 'rowcast tail']), by.int(1, 2)],
        );
        deaths += killed.length;
      }
    };
    const unannounced = async () => {
      const [, second] = counts;
      const values = (await second?.unannounced.get())?.values ?? [];
      return values.reduce((sum, { value }) => sum + value, 0);
    };

    const tasks = [...channels.map((channel, index) => write(channel, index >= WRITERS)), moods(), nemesis()];
    for (const task of tasks) task.catch(() => (ended = true));
    await Promise.allSettled(tasks);
    await Promise.all(tasks);
    for (const { key, committed, seen } of channels) {
      for (const [at, events] of seen.entries()) {
        await until(() => events.length >= committed.length, {
          what: `${committed.length} rows of ${key} on gateway ${at} (ROWCAST_SEED=${chosen})`,
        });
        expect(events.map(({ seq }) => seq)).toEqual(seqs(1, committed.length));
        for (const [row, { at: seenAt }] of events.entries()) {
          const commit = committed[row];
          if (commit !== undefined) waits[commit.phase].push(Math.max(0, seenAt - commit.at));
        }
      }
    }
    await until(() => counts.every(({ asleep }) => asleep), { what: 'both gateways to fall asleep' });
    const longest = { calm: Math.max(...waits.calm), deaths: Math.max(...waits.deaths) };
    process.stderr.write(
      `soak: ${SECONDS} s, ${waits.calm.length + waits.deaths.length} events; woken ${counts.map(({ wakings }) => wakings)},` +
        ` asleep again ${counts.map(({ sleeps }) => sleeps)} times, the gate was taken ${holds} times, ${deaths} sessions` +
        ` ended; longest wait ${longest.calm.toFixed(0)} ms, with deaths ${longest.deaths.toFixed(0)} ms\n`,
    );
    expect(longest.calm).toBeLessThan(DEADLINE.calm);
    expect(longest.deaths).toBeLessThan(DEADLINE.deaths);
    // A soak in which nothing changed would prove nothing.
    for (const { wakings, sleeps } of counts) expect(Math.min(wakings, sleeps)).toBeGreaterThanOrEqual(SECONDS / 9);
    expect(holds).toBeGreaterThanOrEqual(SECONDS / 4);
    expect(deaths).toBeGreaterThanOrEqual(SECONDS / 3);
  },
  (SECONDS + 60) * 1_000,
);
