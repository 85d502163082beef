import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { fairNow } from '../support/fair-clock.js';
import { NO_RATES } from '../support/gateway.js';
import { join, leave, newTenant, type Tenant, TOKENS, tokenOf } from '../support/principals.js';
import { type GatewayProcess, killAll, startGatewayProcess } from '../support/process.js';
import { Course, digestOf, read, TRANSPORTS, type TransportOfReader } from '../support/tenant-readers.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

/** How long the load lasts. */
const SECONDS = Number(process.env.ROWCAST_TEST_TENANTS_SECONDS || 5);
const WRITERS = 3;
const EXECUTIONS = 3;
/** Writers are as fast as the slowest member of their tenant takes it, which may be so many rows behind. */
const BEHIND = 200;
/** Rows between two changes of status, which are the events of the venture. */
const STATUS_EVERY = 20;
/** Events of a round before the membership ends. */
const ROUND = 30;
/** From the COMMIT that ends a membership to the end of what it ends, and from the one that gives it back to new events, in milliseconds. */
const WITHIN = 2_000;

let database: TestDatabase;
let admin: pg.Client;
const sessions: pg.Client[] = [];
/** Both serve both tenants. */
let gateways: GatewayProcess[];
const ends: (() => void)[] = [];

beforeAll(async () => {
  database = await createDatabase();
  admin = await connect();
  // Nothing is decided again by time: what ends a stream is what rings.
  const settings = { ...NO_RATES, ...TOKENS, ROWCAST_ACCESS_INTERVAL: '3600000' };
  gateways = await Promise.all([1, 2].map(() => startGatewayProcess(database.url, settings)));
});
afterAll(async () => {
  for (const end of ends) end();
  await Promise.all(gateways.map((gateway) => gateway.stop())).finally(killAll);
  await Promise.all(sessions.map((session) => session.end()));
  await database.drop();
});

async function connect(): Promise<pg.Client> {
  const session = await connectWriter(database.url);
  sessions.push(session);
  return session;
}

interface Party {
  readonly tenant: Tenant;
  readonly executions: readonly string[];
  /** Of the members that stay, by transport. */
  readonly staying: readonly (readonly Course[])[];
}

const urlOf = (index: number) => gateways[index % gateways.length]?.url ?? '';

/** The channels of a tenant, which hold rows of it alone. */
function coursesOf(tenant: Tenant, executions: readonly string[]): Course[] {
  const mark = `of ${tenant.name}`;
  const logs = executions.map(
    (id) =>
      new Course(`execution:${id}`, ({ execution_id, message, event_type }) => {
        return execution_id === id && (event_type !== 'log' || String(message).startsWith(mark));
      }),
  );
  return [...logs, new Course(`venture:${tenant.venture}`, ({ venture_id }) => venture_id === tenant.venture)];
}

async function party(name: string): Promise<Party> {
  const tenant = await newTenant(admin, name);
  const executions = [tenant.execution];
  while (executions.length < EXECUTIONS) executions.push(await newExecution(admin, tenant.venture));
  const staying: Course[][] = [];
  for (const [index, transport] of TRANSPORTS.entries()) {
    const user = `${name} stays on ${transport}`;
    await join(admin, tenant, user);
    const courses = coursesOf(tenant, executions);
    ends.push(read({ url: urlOf(index), token: await tokenOf(user), transport }, courses));
    staying.push(courses);
  }
  return { tenant, executions, staying };
}

/** Writes as fast as it is read, until told to stop. */
async function write({ tenant, executions, staying }: Party, first: number, running: () => boolean): Promise<number> {
  const writer = await connect();
  let rows = 0;
  while (running()) {
    const turn = (first + rows) % executions.length;
    const id = executions[turn] ?? '';
    await log(writer, id, 1, `of ${tenant.name}, row ${rows} of writer ${first}:`);
    rows += 1;
    if (rows % STATUS_EVERY === 0) {
      const status = (rows / STATUS_EVERY) % 2 === 0 ? 'paused' : 'running';
      await writer.query('UPDATE agent_executions SET status = $2 WHERE execution_id = $1', [id, status]);
    }
    const behind = () => {
      const seqs = staying.map((reader) => reader[turn]?.seq ?? 0);
      return Math.max(...seqs) - Math.min(...seqs);
    };
    await until(() => behind() < BEHIND, { deadlineMs: 30_000, what: `the members of ${tenant.name} to follow` });
  }
  return rows;
}

interface Round {
  readonly transport: TransportOfReader;
  /** Milliseconds after the COMMIT that took it away: the last event, the end; and after the one that gave it back, the next event. */
  readonly last: number;
  readonly end: number;
  readonly again: number;
}

/** A member whose membership is taken away and given back; all that it reads in between, and after, has no hole. */
async function comeAndGo(
  { tenant, executions }: Party,
  foreign: Party,
  index: number,
  running: () => boolean,
): Promise<{ rounds: Round[]; courses: Course[] }> {
  const transport = TRANSPORTS[index] ?? 'websocket';
  const user = `${tenant.name} goes on ${transport}`;
  const options = { url: urlOf(index + 1), token: await tokenOf(user), transport };
  const by = await connect();
  const courses = coursesOf(tenant, executions.slice(0, 1));
  const seen = () => courses[0]?.seq ?? 0;
  const ended = (which: readonly Course[]) =>
    until(() => which.every((course) => course.ended !== null), { deadlineMs: 10_000, what: `${user} to be ended` });
  const rounds: Round[] = [];
  await join(by, tenant, user);
  let close = read(options, courses);
  let [joined, before] = [fairNow(), 0];
  while (running()) {
    await until(() => seen() > before || courses.some(({ ended }) => ended !== null), {
      what: `${user} to read again`,
    });
    expect(courses.map(({ ended, fault }) => fault ?? ended)).toEqual([null, null]);
    const again = fairNow() - joined;
    await until(() => seen() >= before + ROUND, { what: `events for ${user}` });
    await leave(by, tenant, user);
    const left = fairNow();
    await ended(courses);
    close();
    const last = Math.max(0, ...courses.map(({ lastAt }) => lastAt - left));
    const end = Math.max(...courses.map((course) => (course.ended?.at ?? 0) - left));
    rounds.push({ transport, last, end, again });
    // Neither what was its own nor what never was is read now, whatever is asked for.
    const refused = [...coursesOf(tenant, executions), ...coursesOf(foreign.tenant, foreign.executions)];
    const closeRefused = read(options, refused);
    await ended(refused);
    closeRefused();
    expect([...courses, ...refused].filter(({ ended }) => ended?.code !== 'forbidden')).toEqual([]);
    expect(refused.map(({ seq, fault }) => fault ?? seq)).toEqual(refused.map(() => 0));
    before = seen();
    await join(by, tenant, user);
    joined = fairNow();
    close = read(options, courses);
  }
  ends.push(close);
  return { rounds, courses };
}

async function storedDigest(channel: string): Promise<{ seq: number; digest: string }> {
  const [stream, key] = channel.split(':');
  const { rows } = await admin.query<{ seq: string; id: string }>(
    stream === 'execution'
      ? 'SELECT seq, log_id AS id FROM agent_execution_logs WHERE execution_id = $1 ORDER BY seq'
      : 'SELECT seq, audit_id AS id FROM execution_audit WHERE venture_id = $1 ORDER BY seq',
    [key],
  );
  return { seq: rows.length, digest: digestOf(rows.map(({ seq, id }) => ({ seq: Number(seq), log_id: id }))) };
}

function printed(rounds: readonly Round[]): string {
  return TRANSPORTS.map((transport) => {
    const of = rounds.filter((round) => round.transport === transport);
    const figures = (['last', 'end', 'again'] as const).map((what) => {
      const sorted = of.map((round) => round[what]).sort((x, y) => x - y);
      const at = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] ?? 0);
      return `${what} ${at(0.5)}/${at(0.95)}/${Math.round(sorted.at(-1) ?? 0)}`;
    });
    return `  ${transport}: ${of.length} revocations; ms, median/p95/most: ${figures.join(', ')}`;
  }).join('\n');
}

test(
  `I1 I2 I3 I5: two tenants at full load for ${SECONDS} s: no row of one reaches the other, and a membership that ends takes its streams with it`,
  async () => {
    const parties = [await party('A'), await party('B')];
    const end = performance.now() + SECONDS * 1000;
    let over = false;
    const writing = parties.flatMap((one) =>
      Array.from({ length: WRITERS }, (_, index) => write(one, index, () => !over)),
    );
    const going = parties.flatMap((one, side) =>
      TRANSPORTS.map((_, index) => comeAndGo(one, parties[1 - side] ?? one, index, () => performance.now() < end)),
    );
    const gone = await Promise.all(going).finally(() => {
      over = true;
      return Promise.allSettled(writing);
    });
    const written = await Promise.all(writing);
    const rounds = gone.flatMap((one) => one.rounds);
    const rows = written.reduce((sum, one) => sum + one, 0);
    process.stderr.write(
      `${rows} rows in ${SECONDS} s by ${written.length} writers of two tenants; after a membership ended the last event and the end, after it came back the next event:\n${printed(rounds)}\n`,
    );

    const courses = [...parties.flatMap(({ staying }) => staying.flat()), ...gone.flatMap((one) => one.courses)];
    for (const channel of new Set(courses.map((course) => course.channel))) {
      const stored = await storedDigest(channel);
      for (const course of courses.filter((one) => one.channel === channel)) {
        await until(() => course.seq >= stored.seq || course.fault !== undefined, { what: `the end of ${channel}` });
        expect(course.fault).toBeUndefined();
        expect({ seq: course.seq, digest: course.digest(), ended: course.ended }).toEqual({ ...stored, ended: null });
      }
    }
    for (const transport of TRANSPORTS) expect(rounds.filter((round) => round.transport === transport)).not.toEqual([]);
    expect(Math.max(...rounds.flatMap(({ last, end }) => [last, end]))).toBeLessThan(WITHIN);
    expect(Math.max(...rounds.map(({ again }) => again))).toBeLessThan(WITHIN);
  },
  (SECONDS + 60) * 1000,
);
