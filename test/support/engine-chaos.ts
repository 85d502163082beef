/** Calls the functions of the engine at random, from many connections at once: in any order, twice, late, and by the old doors. */
import pg from 'pg';
import { type Claimed, randomPlan, value } from './engine.js';
import type { Random } from './random.js';

/** What the functions may answer instead: a refusal, or an update that the rules of the executions refuse. */
const REFUSED = /^(RC001)$/;

interface World {
  readonly pool: pg.Pool;
  readonly ventures: readonly string[];
  readonly executions: string[];
  /** Claims, held or long over. */
  readonly claims: Claimed[];
}

type Act = (world: World, random: Random) => Promise<unknown>;

const CLASSES = ['transient', 'rate_limited', 'permanent', 'timeout'];
const TYPES = ['a', 'b', 'c', 'd'];

const call =
  (text: string, values: (world: World, random: Random) => unknown[]): Act =>
  ({ pool, ...world }, random) =>
    pool.query(text, values({ pool, ...world }, random));

const execution = ({ executions }: World, random: Random) => random.pick(executions);
const leased = ({ claims }: World, random: Random) => {
  // Mostly a late one: those that were claimed last are still held.
  const { task_id, lease } = random.pick(random.chance(0.7) ? claims.slice(-12) : claims);
  return [task_id, lease];
};

async function claimOne({ pool, claims }: World, random: Random) {
  const types = random.shuffled(TYPES).slice(0, random.int(1, 4));
  const text = 'SELECT rowcast.claim_task($1, $2)';
  const task = await value<Claimed | null>(pool, text, [`w${random.int(1, 4)}`, types]);
  if (task !== null) claims.push(task);
}

async function startOne({ pool, ventures, executions }: World, random: Random) {
  const request = {
    tasks: randomPlan(random),
    on_failure: random.pick(['continue', 'continue', 'hold', 'stop']),
    ...(random.chance(0.2) && { max_parallel: random.int(1, 3) }),
  };
  const text = 'SELECT rowcast.plan_execution($1, $2)';
  const id = await value<string>(pool, text, [random.pick(ventures), JSON.stringify(request)]);
  executions.push(id);
  if (random.chance(0.9)) await pool.query('SELECT rowcast.start_execution($1)', [id]);
}

async function completeAndClaim({ pool, claims }: World, random: Random) {
  const { task_id, lease } = random.pick(claims.slice(-12));
  const text = 'SELECT rowcast.complete_and_claim($1, $2, NULL, NULL, $3)';
  const { next } = await value<{ next: Claimed | null }>(pool, text, [task_id, lease, 'w1']);
  if (next !== null) claims.push(next);
}

/** A task of an execution, whatever its status. The second value chooses it. */
const TASK = '(SELECT task_id FROM agent_tasks WHERE execution_id = $1 ORDER BY md5(number || $2::text) LIMIT 1)';
const anyTask = (world: World, random: Random) => [execution(world, random), random.int(0, 1e6)];

const ACTS: readonly (readonly [weight: number, act: Act])[] = [
  [3, startOne],
  [14, claimOne],
  [10, completeAndClaim],
  [8, call('SELECT rowcast.complete_task($1, $2)', leased)],
  [
    5,
    call('SELECT rowcast.fail_task($1, $2, $3)', (world, random) => [
      ...leased(world, random),
      JSON.stringify({ class: random.pick(CLASSES), message: 'chaos' }),
    ]),
  ],
  [
    3,
    call('SELECT rowcast.heartbeat_task($1, $2, $3)', (world, random) => [
      ...leased(world, random),
      JSON.stringify({ percent: random.int(0, 100), checkpoint: { at: 1 } }),
    ]),
  ],
  [2, call('SELECT rowcast.release_task($1, $2)', leased)],
  [2, call(`SELECT rowcast.wait_task($1, $2, 'go', now() + interval '1 second')`, leased)],
  [1, call(`SELECT rowcast.signal_execution($1, 'go')`, (...args) => [execution(...args)])],
  [
    2,
    call('SELECT rowcast.pause_execution($1, $2)', (...args) => [execution(...args), args[1].pick(['drain', 'stop'])]),
  ],
  [3, call('SELECT rowcast.resume_execution($1)', (...args) => [execution(...args)])],
  [1, call('SELECT rowcast.cancel_execution($1)', (...args) => [execution(...args)])],
  [2, call(`SELECT rowcast.retry_task(${TASK})`, anyTask)],
  [2, call(`SELECT rowcast.skip_task(${TASK})`, anyTask)],
  [1, call('SELECT rowcast.fork_execution($1)', (...args) => [execution(...args)])],
  [
    1,
    call('SELECT rowcast.add_tasks($1, $2)', (...args) => [
      execution(...args),
      JSON.stringify([{ name: `more${args[1].int(1, 1e6)}`, agent_type: 'a' }]),
    ]),
  ],
  // A lease that is over: as after a worker was killed.
  [
    2,
    call(`UPDATE agent_tasks SET lease_until = now() WHERE task_id = $1 AND lease = $2 AND status = 'running'`, leased),
  ],
  [4, call('SELECT rowcast.attend($1)', (...args) => [execution(...args)])],
  // The old doors.
  [
    2,
    call('UPDATE agent_executions SET status = $2 WHERE execution_id = $1', (...args) => [
      execution(...args),
      args[1].pick(['running', 'paused', 'completed', 'failed', 'cancelled']),
    ]),
  ],
];

const deck = ACTS.flatMap(([weight, act]) => Array.from({ length: weight }, () => act));

/** Runs so many acts on each of so many connections. Rejects with whatever is no refusal, such as a deadlock. */
export async function chaos(world: World, random: Random, { connections = 8, acts = 120 } = {}): Promise<void> {
  for (let i = 0; i < 4; i++) await startOne(world, random);
  while (world.claims.length === 0) await claimOne(world, random);
  await Promise.all(
    Array.from({ length: connections }, async (_, index) => {
      const own = random.branch(`connection ${index}`);
      for (let i = 0; i < acts; i++) {
        try {
          await own.pick(deck)(world, own);
        } catch (error) {
          if (!(error instanceof pg.DatabaseError) || !REFUSED.test(error.code ?? '')) throw error;
        }
      }
    }),
  );
}

/** Resumes what is paused, starts what is pending, and does all work until every execution has ended. */
export async function bringToAnEnd({ pool }: World): Promise<void> {
  await pool.query(`UPDATE agent_tasks SET lease_until = now() WHERE status = 'running'`);
  for (;;) {
    const { rows } = await pool.query<{ id: string; status: string }>(
      `SELECT execution_id AS id, status FROM agent_executions JOIN strategy_executions USING (execution_id)
        WHERE status IN ('pending', 'running', 'paused')`,
    );
    if (rows.length === 0) return;
    for (const { id, status } of rows) {
      if (status !== 'running') {
        await pool.query(`SELECT rowcast.${status === 'pending' ? 'start' : 'resume'}_execution($1)`, [id]);
      }
      await pool.query('SELECT rowcast.attend($1)', [id]);
    }
    for (;;) {
      const task = await value<Claimed | null>(pool, 'SELECT rowcast.claim_task($1, $2)', ['last', TYPES]);
      if (task === null) break;
      await pool.query('SELECT rowcast.complete_task($1, $2)', [task.task_id, task.lease]);
    }
  }
}
