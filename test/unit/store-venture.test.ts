import { afterEach, expect, test } from '@jest/globals';
import { executionsStore } from '../../client/store/zustand/index.js';
import { autoStore } from '../support/auto-store.js';

const VENTURE = 'venture:lobby';

const listed = (id: string, second: number, status = 'running') => ({
  execution_id: id,
  venture_id: 'lobby',
  status,
  created_at: new Date(second * 1_000).toISOString(),
  updated_at: new Date(second * 1_000).toISOString(),
  started_at: null,
  estimated_end: null,
});

/** A venture whose executions a test changes. `reading` is called with what is asked for, before it is answered. */
function open() {
  const known = new Map([['a', listed('a', 1)]]);
  const asked: string[] = [];
  const world = { known, asked, reading: (_what: string) => {} };
  const { store, gateway, clock } = autoStore((path) => {
    const { searchParams } = new URL(path, 'http://gateway.test');
    const what = searchParams.get('ids') ?? `list of ${searchParams.get('limit')}`;
    asked.push(what);
    const ids = searchParams.get('ids')?.split(',') ?? [...known.keys()];
    const answer = {
      executions: ids.flatMap((id) => known.get(id) ?? []),
      counts: { running: known.size },
      pagination: { next_cursor: null },
      position: searchParams.has('ids') ? null : `e1.${gateway.rows(VENTURE).length}`,
    };
    world.reading(what);
    return answer;
  });
  close = store.close;
  return Object.assign(world, { store, gateway, clock });
}

let close = () => {};
afterEach(() => close());

test('the executions of a venture: new ones wait, changed ones are read again, and after a reset the list is', async () => {
  const { known, asked, store, gateway, clock } = open();
  const executions = store.executions('lobby');
  executions.subscribe(() => {});
  await clock.turn(2_500);
  const shown = () => executions.get().data?.rows.map(({ id, status }) => `${id} ${status}`);
  expect([executions.get().status, shown(), executions.get().data?.counts?.running]).toEqual([
    'live',
    ['a running'],
    1,
  ]);
  known.set('n1', listed('n1', 2));
  known.set('a', listed('a', 1, 'failed'));
  gateway.write(VENTURE, { event_type: 'created', execution_id: 'n1' });
  await clock.turn(2_500);
  expect([shown(), executions.get().data?.waiting, executions.get().data?.counts?.running]).toEqual([
    ['a failed'],
    1,
    2,
  ]);
  executions.show();
  expect([shown(), executions.get().data?.waiting]).toEqual([['n1 running', 'a failed'], 0]);
  asked.length = 0;
  gateway.push({ type: 'reset', channel: VENTURE, reason: 'ahead', position: 'e1.0' });
  known.delete('a');
  await clock.turn(2_500);
  expect([asked.includes('list of 50'), shown()]).toEqual([true, ['n1 running']]);
});

test('I2: an execution that changes between the list and the subscription is not missed', async () => {
  const world = open();
  const { known, store, gateway, clock } = world;
  world.reading = (what) => {
    world.reading = () => {};
    expect(what).toBe('list of 50');
    known.set('a', listed('a', 1, 'completed'));
    gateway.write(VENTURE, { event_type: 'status-changed', execution_id: 'a' });
  };
  const executions = store.executions('lobby', { status: ['running', 'completed'] });
  executions.subscribe(() => {});
  await clock.turn(2_500);
  expect(executions.get().data?.rows.map(({ status }) => status)).toEqual(['completed']);
});

test('as a Zustand store: it follows while it has subscribers, and its actions are those of the list', async () => {
  const { known, store, gateway, clock } = open();
  const executions = executionsStore(store, 'lobby');
  const shown = () => executions.getState().executions.data?.rows.map(({ id }) => id);
  expect([shown(), gateway.said]).toEqual([undefined, []]);
  const told: (string[] | undefined)[] = [];
  const unsubscribe = executions.subscribe(({ executions }) => told.push(executions.data?.rows.map(({ id }) => id)));
  const other = executions.subscribe(() => {});
  await clock.turn(2_500);
  expect([shown(), told.at(-1), gateway.said]).toEqual([['a'], ['a'], [`subscribe ${VENTURE}`]]);
  known.set('n1', listed('n1', 2));
  gateway.write(VENTURE, { event_type: 'created', execution_id: 'n1' });
  await clock.turn(2_500);
  expect(executions.getState().executions.data?.waiting).toBe(1);
  executions.getState().show();
  expect(shown()).toEqual(['n1', 'a']);
  unsubscribe();
  unsubscribe();
  await clock.turn(10_000);
  expect(gateway.said).toEqual([`subscribe ${VENTURE}`]); // one is left
  other();
  await clock.turn(10_000);
  expect(gateway.said.at(-1)).toBe(`unsubscribe ${VENTURE}`);
});
