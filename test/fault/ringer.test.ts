import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { seed } from '../property/seed.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { seqs } from '../support/follow.js';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { makeRandom } from '../support/random.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

/** What a row may wait for on another gateway when the ringer fails, in milliseconds. */
const LONGEST_WAIT = 250;
/** One ring wakes it; as long as one row comes each half second it stays awake. */
const RINGER = { ROWCAST_WAKE_RATE: '2' };
const SLEEPER = { ROWCAST_WAKE_RATE: '1000000' };
/** The lease is two seconds; the server looks for it when it likes. */
const LEASE_ENDS = 4_000;

/** Of eight rounds each; more of them find out more. */
const ASLEEP_BATCHES = Number(process.env.ROWCAST_RINGER_BATCHES || 1);
const QUEUED_BATCHES = Number(process.env.ROWCAST_RINGER_BATCHES || 1);

let database: TestDatabase;
let writer: pg.Client;
let admin: pg.Client;
const random = makeRandom(seed('ringer'));

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  admin = await connectWriter(database.url);
});
afterAll(async () => {
  killAll();
  await Promise.all([writer.end(), admin.end()]);
  await database.drop();
});

const upTo = (most: number) => random.int(0, most);

async function gateSessions(): Promise<number> {
  const { rows } = await admin.query(
    `SELECT 1 FROM pg_stat_activity WHERE application_name = 'rowcast gate' AND datname = current_database()`,
  );
  return rows.length;
}

/** The server's process that holds the gate, if any. */
async function holder(): Promise<number | undefined> {
  const { rows } = await admin.query<{ pid: number }>(
    `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1919907683 AND objid = 1 AND granted
      AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  return rows[0]?.pid;
}

/** Gateways that stand still until they are needed: to start one takes longer than a round. */
async function spares(count: number): Promise<GatewayProcess[]> {
  const gateways = await Promise.all(Array.from({ length: count }, () => startGatewayProcess(database.url, RINGER)));
  const asleep = async () => (await gateSessions()) === 0;
  for (;;) {
    // They woke when they connected, and have nothing to read.
    await until(asleep, { what: 'the spare gateways to fall asleep' });
    for (const { pid } of gateways) process.kill(pid, 'SIGSTOP');
    // One that was waking just then would stand in the queue for the gate, and hand it to none.
    if (await asleep()) return gateways;
    for (const gateway of gateways) resume(gateway);
  }
}

/** One channel, the times at which its rows were committed, and at which clients saw them. */
class Channel {
  readonly committed: number[] = [];
  readonly #key: string;

  constructor(key: string) {
    this.#key = key;
  }

  async commit(): Promise<void> {
    await writer.query(`INSERT INTO rowcast.messages (key, event_type) VALUES ($1, 'log')`, [this.#key]);
    this.committed.push(performance.now());
  }

  /** Singles, at random distances, until then. */
  async commitUntil(done: () => unknown): Promise<void> {
    while (!(await done())) {
      await this.commit();
      await delay(upTo(12));
    }
  }

  /** Commits until somebody holds the gate and `sessions` want it, then some more. */
  async awake(sessions: number): Promise<void> {
    await this.commitUntil(async () => (await holder()) !== undefined && (await gateSessions()) === sessions);
    for (let row = upTo(25) + 3; row > 0; row -= 1) {
      await this.commit();
      await delay(upTo(12));
    }
  }

  /** Watches it on one gateway, which must have seen all in order, and each row soon after its commit. */
  watch(url: string): { live(): Promise<void>; check(from: number): Promise<number[]>; close(): void } {
    const client = testClient({ url });
    const seen: { seq: number; at: number }[] = [];
    const subscription = client.subscribe(`message:${this.#key}`, {
      since: 'start',
      onEvent: ({ seq }) => seen.push({ seq, at: performance.now() }),
    });
    return {
      live: async () => {
        await until(() => subscription.state === 'live', { what: `${this.#key} to be live` });
      },
      check: async (from) => {
        const rows = this.committed.length;
        await until(() => seen.length >= rows, { what: `${rows} rows of ${this.#key}` });
        expect(seen.map(({ seq }) => seq)).toEqual(seqs(1, rows));
        return seen.slice(from).map(({ seq, at }) => Math.max(0, at - (this.committed[seq - 1] ?? 0)));
      },
      close: () => client.close(),
    };
  }
}

/** Waits of rows, and by how much this machine was late meanwhile: here, and in the gateway that was watched. */
class Waits {
  readonly #what: string;
  readonly #all: number[] = [];
  readonly #late: number[] = [];
  readonly #excess: number[] = [];

  constructor(what: string) {
    this.#what = what;
  }

  async measure(gateway: GatewayProcess, work: () => Promise<number[]>): Promise<void> {
    await eventLoopLag(gateway);
    const here = monitorEventLoopDelay({ resolution: 5 });
    here.enable();
    const waits = await work();
    here.disable();
    const late = here.max / 1e6 + (await eventLoopLag(gateway));
    this.#all.push(...waits);
    this.#late.push(late);
    this.#excess.push(Math.max(...waits) - late);
  }

  get longest(): number {
    return Math.max(...this.#all);
  }

  /** No row has waited longer than allowed, but for as long as the machine did nothing. */
  check(): void {
    const sorted = this.#all.sort((a, b) => a - b);
    const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]?.toFixed(1);
    const rounds = this.#late.map((late) => late.toFixed(0)).sort((a, b) => Number(a) - Number(b));
    process.stderr.write(
      `ringer, ${this.#what}: ${sorted.length} rows in ${rounds.length} rounds waited p50 ${at(0.5)}, p90 ${at(0.9)},` +
        ` p99 ${at(0.99)}, max ${at(1)} ms; event loops late by up to ${rounds.at(-1)} ms\n`,
    );
    expect(Math.max(...this.#excess)).toBeLessThanOrEqual(LONGEST_WAIT);
  }
}

/** The longest that the event loop of a gateway was late since this was last asked, in milliseconds. */
async function eventLoopLag(gateway: GatewayProcess): Promise<number> {
  return 1_000 * (await metric(gateway, 'nodejs_eventloop_lag_max_seconds'));
}

async function metric(gateway: GatewayProcess, name: string): Promise<number> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  const value = new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1];
  if (value === undefined) throw new Error(`there is no metric ${name}`);
  return Number(value);
}

function resume({ pid }: GatewayProcess): void {
  process.kill(pid, 'SIGCONT');
}

test(
  'I9: the ringer is killed right after a silent commit: the gateway that sleeps finds the row in time',
  async () => {
    const sleeper = await startGatewayProcess(database.url, SLEEPER);
    const channel = new Channel('asleep');
    const watch = channel.watch(sleeper.url);
    await watch.live();
    const waits = { silence: new Waits('killed, then silence'), writing: new Waits('killed, then writing') };
    // A ringer may have rung for its last row before it died: until it did not, nothing is proven.
    const proven = () => waits.silence.longest > 50;
    for (let batch = 0; batch < ASLEEP_BATCHES || (batch < 5 * ASLEEP_BATCHES && !proven()); batch += 1) {
      for (const [round, ringer] of (await spares(8)).entries()) {
        const silence = round % 2 === 0;
        await waits[silence ? 'silence' : 'writing'].measure(sleeper, async () => {
          resume(ringer);
          await channel.awake(1);
          const from = channel.committed.length - 1;
          if (random.chance(0.5)) await delay(upTo(8));
          const gone = ringer.kill('SIGKILL');
          const end = performance.now() + 300;
          if (!silence) await channel.commitUntil(() => performance.now() > end);
          const found = await watch.check(from);
          await gone;
          return found;
        });
        await until(async () => (await gateSessions()) === 0, { what: 'the gate of the dead to be free' });
      }
    }
    waits.silence.check();
    waits.writing.check();
    expect(proven()).toBe(true);
    watch.close();
    await sleeper.stop();
  },
  360_000 * ASLEEP_BATCHES,
);

test(
  'I9: the ringer is killed while another gateway queues: that one takes over in time',
  async () => {
    const channel = new Channel('queued');
    const waits = { silence: new Waits('inherited, then silence'), writing: new Waits('inherited, then writing') };
    for (let batch = 0; batch < QUEUED_BATCHES; batch += 1) {
      let [ringer, ...heirs] = await spares(9);
      if (ringer !== undefined) resume(ringer);
      await channel.awake(1);
      for (const [round, heir] of heirs.entries()) {
        resume(heir);
        await channel.awake(2);
        const watch = channel.watch(heir.url);
        await watch.live();
        const silence = round % 2 === 0;
        await waits[silence ? 'silence' : 'writing'].measure(heir, async () => {
          await channel.awake(2);
          const from = channel.committed.length - 1;
          if (random.chance(0.5)) await delay(upTo(8));
          const gone = ringer?.kill('SIGKILL');
          const end = performance.now() + 300;
          if (!silence) await channel.commitUntil(() => performance.now() > end);
          const found = await watch.check(from);
          await gone;
          return found;
        });
        watch.close();
        ringer = heir;
      }
      await ringer?.kill('SIGKILL');
      await until(async () => (await gateSessions()) === 0, { what: 'the gate to be free' });
    }
    waits.silence.check();
    waits.writing.check();
  },
  120_000 * QUEUED_BATCHES,
);

test('I9: a ringer that hangs loses the gate; till then, and when it goes on, every row arrives', async () => {
  const sleeper = await startGatewayProcess(database.url, SLEEPER);
  const channel = new Channel('hung');
  const watch = channel.watch(sleeper.url);
  await watch.live();
  const [ringer] = await spares(1);
  if (ringer === undefined) throw new Error('no ringer');
  const waits = new Waits('hung');
  for (let round = 0; round < 2; round += 1) {
    await waits.measure(sleeper, async () => {
      resume(ringer);
      await channel.awake(1);
      const from = channel.committed.length - 1;
      const held = await holder();
      process.kill(ringer.pid, 'SIGSTOP');
      const stopped = performance.now();
      await channel.commitUntil(async () => (await holder()) !== held);
      const took = performance.now() - stopped;
      process.stderr.write(`ringer, hung: it lost the gate after ${took.toFixed(0)} ms\n`);
      expect(took).toBeLessThan(LEASE_ENDS);
      const end = performance.now() + 200;
      await channel.commitUntil(() => performance.now() > end);
      return watch.check(from);
    });
  }
  waits.check();
  resume(ringer);
  const own = channel.watch(ringer.url);
  await own.check(0);
  own.close();
  watch.close();
  await ringer.stop();
  await sleeper.stop();
}, 60_000);

test('I9: a ringer that stops, or loses the session of its gate or its tail, leaves no row behind', async () => {
  const sleeper = await startGatewayProcess(database.url, SLEEPER);
  const channel = new Channel('stopped');
  const watch = channel.watch(sleeper.url);
  await watch.live();
  const waits = new Waits('stopped, or cut off');
  const { rows: others } = await admin.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE application_name = 'rowcast tail' AND datname = current_database()`,
  );
  const cutTail = () =>
    admin.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rowcast tail'
        AND datname = current_database() AND pid <> ALL ($1)`,
      [others.map(({ pid }) => pid)],
    );
  for (const ringer of await spares(4)) {
    resume(ringer);
    for (let round = 0; round < 3; round += 1) {
      await waits.measure(sleeper, async () => {
        await channel.awake(1);
        const from = channel.committed.length - 1;
        if (round === 0) await admin.query('SELECT pg_terminate_backend($1)', [await holder()]);
        else if (round === 1) await cutTail();
        const gone = round === 2 ? ringer.stop() : undefined;
        const end = performance.now() + upTo(1) * 300;
        await channel.commitUntil(() => performance.now() > end);
        await gone;
        return watch.check(from);
      });
    }
  }
  waits.check();
  watch.close();
  await sleeper.stop();
}, 60_000);
