import { afterEach, expect, test } from '@jest/globals';
import { advance, begin } from '../../client/progress/index.js';
import { LiveStore } from '../../client/store/live-store.js';
import { type ApiStub, autoStore } from '../support/auto-store.js';

const ID = '4f1c';
const CHANNEL = `execution:${ID}`;
const BEGAN = Date.parse('2026-01-01T00:00:00Z');

const row = (event_type: string, second: number, context: object = {}, stage_number: number | null = null) => ({
  event_type,
  context,
  stage_number,
  created_at: new Date(BEGAN + second * 1_000).toISOString(),
});

const RUN = [
  row('execution-started', 0),
  row('task-assigned', 1, { step_id: 'a', agent: 'reader' }, 1),
  row('metrics-update', 2, { metric_name: 'tokens', metric_value: 5 }),
  row('task-completed', 3, { step_id: 'a', agent: 'reader' }, 1),
  row('task-assigned', 4, { step_id: 'b', agent: 'fixer' }, 2),
  row('task-failed', 5, { step_id: 'b', agent: 'fixer', error: 'why' }, 2),
  row('task-assigned', 6, { step_id: 'c', agent: 'constructor' }, 2),
];

let store: LiveStore;
afterEach(() => store.close());

/** A store over a gateway that has these rows, and whose API answers with what `api` returns. */
function open(rows: object[], api?: ApiStub) {
  const made = autoStore(api);
  made.gateway.write(CHANNEL, ...(rows as Readonly<Record<string, unknown>>[]));
  store = made.store;
  return { ...made, execution: store.execution(ID) };
}

/** The snapshot of the API after these many rows. */
function snapshotOf(rows: readonly object[], count: number, metrics: object[] = []) {
  const progress = rows.slice(0, count).reduce((state: ReturnType<typeof begin>, row, index) => {
    return advance(state, { seq: index + 1, row: row as Readonly<Record<string, unknown>> });
  }, begin());
  return { position: `e1.${count}`, state: { version: 1, progress }, metrics };
}

test('joined from a snapshot, it is what reading from the start gives, and events after it come once', async () => {
  const whole = open(RUN);
  const unsubscribe = whole.execution.subscribe(() => {});
  await whole.clock.turn(0);
  const read = whole.execution.get();
  unsubscribe();
  store.close();

  const { gateway, clock, asked, execution } = open(RUN, () => snapshotOf(RUN, 4));
  execution.subscribe(() => {});
  await clock.turn(0);
  expect(asked).toEqual([`/executions/${ID}?logs=none&state=1`]);
  const joined = execution.get();
  expect([read.status, joined.status]).toEqual(['live', 'live']);
  expect(joined.data?.progress).toEqual(read.data?.progress);
  expect(joined.data?.steps).toEqual(read.data?.steps);
  expect(gateway.said).toEqual([`subscribe ${CHANNEL}`]);
});

test('events that are written while the snapshot is on its way are in it, or follow it', async () => {
  let answer: (value: unknown) => void = () => {};
  const { gateway, clock, execution } = open(RUN.slice(0, 2), () => new Promise((resolve) => (answer = resolve)));
  execution.subscribe(() => {});
  await clock.turn(0);
  gateway.write(CHANNEL, ...RUN.slice(2, 4));
  const snapshot = snapshotOf(RUN, 4);
  gateway.write(CHANNEL, ...RUN.slice(4));
  answer(snapshot);
  await clock.turn(0);
  expect(execution.get().data?.progress.seq).toBe(RUN.length);
});

test('a gateway that gives no state, or of another version: the log is read from its start', async () => {
  for (const body of [null, { position: 'e1.3' }, { ...snapshotOf(RUN, 3), state: { version: 2, progress: {} } }]) {
    const { clock, execution } = open(RUN, () => body);
    execution.subscribe(() => {});
    await clock.turn(0);
    expect([execution.get().status, execution.get().data?.steps.length]).toEqual(['live', 3]);
    store.close();
  }
});

test('agents: what each of them does, whatever its name is', async () => {
  const { clock, execution } = open(RUN);
  execution.subscribe(() => {});
  await clock.turn(0);
  const agents = execution.get().data?.agents.map(({ name, state, done, failed }) => ({ name, state, done, failed }));
  expect(agents).toEqual([
    { name: 'reader', state: 'complete', done: 1, failed: 0 }, // its stage is over
    { name: 'fixer', state: 'error', done: 0, failed: 1 },
    { name: 'constructor', state: 'running', done: 0, failed: 0 },
  ]);
});

test('metrics: those before the position from the API, those after it from the events, none twice', async () => {
  const metric = (value: number, count: number) => ({
    metric_name: 'tokens',
    metric_value: value,
    recorded_at: '2026-01-01T00:00:01Z',
    count,
  });
  const { gateway, clock, execution } = open(RUN, (path) =>
    path.includes('/metrics')
      ? { metrics: [metric(5, 1), metric(3, 1)], position: 'e1.3' }
      : snapshotOf(RUN, 2, [metric(3, 2)]),
  );
  execution.subscribe(() => {});
  await clock.turn(0);
  gateway.write(CHANNEL, row('metrics-update', 8, { metric_name: 'tokens', metric_value: '7' }));
  await clock.turn(16);
  expect(execution.get().data?.metrics.map(({ points }) => points.map(({ value }) => value))).toEqual([[3, 5, 7]]);
});

test('it ends with its event, and stays ended without a connection; what is equal is the same object', async () => {
  const { gateway, clock, execution } = open(RUN);
  execution.subscribe(() => {});
  await clock.turn(0);
  const before = execution.get();
  await clock.turn(2_000);
  expect(execution.get()).toBe(before); // it is computed anew each second, and what is equal is the same object
  gateway.write(CHANNEL, row('execution-completed', 9));
  await clock.turn(1_000);
  const ended = execution.get();
  expect([ended.status, ended.data?.progress.percent]).toEqual(['ended', 100]);
  gateway.set(false);
  await clock.turn(5_000);
  expect(execution.get()).toBe(ended);
});

test('controls: nothing is shown as done before its event; a refusal is told; nothing may be done while it is stale', async () => {
  const patches: string[] = [];
  let refused = false;
  const { gateway, clock, execution } = open(RUN, (_, init) => {
    if (init?.method !== 'PATCH') return null;
    patches.push(String(init.body));
    return refused ? null : {};
  });
  const { controls } = execution;
  controls.subscribe(() => {});
  await clock.turn(0);
  expect(controls.get()).toMatchObject({ may: { pause: true, resume: false, cancel: true }, asked: null });
  await controls.ask('pause');
  expect([controls.get().asked, controls.get().may.pause, patches]).toEqual(['pause', true, ['{"status":"paused"}']]);
  gateway.write(CHANNEL, row('execution-paused', 8));
  await clock.turn(16);
  expect(controls.get()).toMatchObject({ asked: null, may: { pause: false, resume: true, cancel: true } });
  refused = true;
  await controls.ask('resume');
  expect(controls.get()).toMatchObject({ asked: null, error: { code: 'not_found' } });
  gateway.set(false);
  await clock.turn(0);
  expect(controls.get().may).toEqual({ pause: false, resume: false, cancel: false });
});

test('what a server has read is shown at once, and goes on from its position', async () => {
  const { state } = snapshotOf(RUN, 4);
  const { asked, clock, gateway } = open(RUN);
  const metrics = { series: {}, upTo: 4 };
  const rhythm = { lastAt: null, gaps: [] };
  const snapshot = { position: 'e1.4', at: 5, state: { progress: state.progress, metrics, rhythm, rhythms: {} } };
  const page = new LiveStore(
    { url: 'http://gateway.test', initial: { executions: { [ID]: JSON.parse(JSON.stringify(snapshot)) } } },
    {
      clock,
      frame: (task) => clock.after(16, task),
      hidden: () => false,
      connect: (options) => gateway.connect(options),
    },
  );
  const execution = page.execution(ID);
  expect(execution.get()).toMatchObject({ status: 'stale', asOf: 5, data: { progress: { seq: 4 } } });
  expect(execution.getInitial()).toBe(execution.get());
  execution.subscribe(() => {});
  await clock.turn(0);
  expect([execution.get().status, execution.get().data?.progress.seq, asked]).toEqual(['live', RUN.length, []]);
  page.close();
});

test('replay: any event, as it was then, while the run goes on; and back to the head', async () => {
  const rows = [...RUN];
  for (let n = 0; n < 600; n += 1) rows.push(row('task-completed', 10 + n, { step_id: `s${n}` }));
  const { gateway, clock, execution } = open(rows);
  const { replay } = execution;
  replay.subscribe(() => {});
  await clock.turn(0);
  await clock.turn(0);
  expect(replay.get()).toMatchObject({ edge: true, seq: rows.length, head: rows.length });
  const states = rows.map(() => begin());
  let state = begin();
  for (const [index, row] of rows.entries()) {
    state = advance(state, { seq: index + 1, row });
    states[index] = state;
  }
  for (const seq of [4, 590, 510, 499, 3, 0]) {
    replay.seek(seq);
    await clock.turn(0);
    const done = seq === 0 ? 0 : (states[seq - 1]?.steps.counts.done ?? -1);
    expect([replay.get().seq, replay.get().edge, replay.get().tracking?.progress.steps.done]).toEqual([
      seq,
      false,
      done,
    ]);
  }
  gateway.write(CHANNEL, row('task-completed', 2_000, { step_id: 'late' }));
  await clock.turn(16);
  expect([replay.get().seq, replay.get().head]).toEqual([0, rows.length + 1]);
  replay.step(1);
  await clock.turn(0);
  expect(replay.get().seq).toBe(1);
  replay.live();
  await clock.turn(0);
  expect(replay.get()).toMatchObject({ edge: true, seq: rows.length + 1 });
});

test('replay plays in the time of the execution, faster if asked, and ends at the head', async () => {
  const { clock, execution } = open(RUN);
  const { replay } = execution;
  replay.subscribe(() => {});
  await clock.turn(0);
  replay.seek(1);
  await clock.turn(0);
  replay.play(2);
  await clock.turn(2_000); // four seconds of the execution
  expect(replay.get()).toMatchObject({ playing: true, speed: 2, seq: 5 });
  replay.pause();
  await clock.turn(5_000);
  expect(replay.get().seq).toBe(5);
  replay.play(16);
  await clock.turn(1_000);
  expect(replay.get()).toMatchObject({ edge: true, playing: false, seq: RUN.length });
});
