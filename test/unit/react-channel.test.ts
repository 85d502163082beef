import { afterEach, expect, test } from '@jest/globals';
import { createElement, Fragment, Profiler } from 'react';
import { renderToString } from 'react-dom/server';
import { z } from 'zod';
import type { LiveStoreOptions } from '../../client/store/live-store.js';
import { FRAME, ReactPage, show } from '../support/react-page.js';

const { RowcastProvider, useChannel, useChannelEvent, useFold, useNow, useWebSocketConnection } = await import(
  '../../client/react/index.js'
);

let page: ReactPage;
const open = (options?: Partial<LiveStoreOptions>) => {
  page = new ReactPage(options);
  return page;
};
afterEach(() => page.close());

const rows = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => ({ n: from + index }));

interface N {
  readonly n: number;
}

/** Prints the status and the numbers of the rows. */
function Log({ channel = 'a:1', enabled = true }: { channel?: string; enabled?: boolean }) {
  const { status, data } = useChannel<N>(channel, { enabled });
  return `${status}:${[...(data ?? [])].map(({ row }) => row.n)};`;
}

// What users of other hooks have reported stands above the test that shows that it does not happen here.

// supabase/realtime-js#169
test('StrictMode mounts twice: one subscribe, and it is live', async () => {
  const { gateway } = open();
  gateway.write('a:1', ...rows(1, 3));
  await page.render(show(Log, {}));
  expect([page.text, gateway.said]).toEqual(['live:1,2,3;', ['subscribe a:1']]);
  await page.act(() => gateway.write('a:1', { n: 4 }));
  await page.wait(FRAME);
  expect(page.text).toBe('live:1,2,3,4;');
});

// mayteio/use-pusher#43, kaciakmaciak/react-query-subscription#86
test('50 components, one channel: one subscription; 49 unmount, and the last one is still live', async () => {
  const { gateway } = open();
  const logs = (count: number) => Array.from({ length: count }, (_, index) => show(Log, {}, String(index)));
  await page.render(logs(50));
  expect(gateway.said).toEqual(['subscribe a:1']);
  await page.render(logs(1));
  await page.wait(10_000);
  await page.act(() => gateway.write('a:1', { n: 1 }));
  expect([page.text, gateway.said]).toEqual(['live:1;', ['subscribe a:1']]);
});

// inngest/inngest-js#1146
test('`enabled` is toggled 100 times: one subscription; left for three seconds it is given up, and comes back at its position', async () => {
  const { gateway } = open();
  gateway.write('a:1', ...rows(1, 2));
  for (let round = 0; round <= 100; round += 1) await page.render(show(Log, { enabled: round % 2 === 1 }));
  expect([page.text, gateway.said]).toEqual(['idle:;', ['subscribe a:1']]);
  await page.wait(3_000);
  expect(gateway.said).toEqual(['subscribe a:1', 'unsubscribe a:1']);
  gateway.write('a:1', { n: 3 });
  gateway.set(false);
  await page.render(show(Log, { enabled: true }));
  expect(page.text).toBe('stale:1,2;'); // what is known is shown at once
  await page.act(() => gateway.set(true));
  expect(page.text).toBe('live:1,2,3;');
});

test('what is left for a minute is forgotten', async () => {
  const { gateway } = open();
  gateway.write('a:1', { n: 1 });
  await page.render(show(Log, {}));
  await page.render(null);
  await page.wait(63_000);
  expect(page.clock.timers).toBe(0);
  gateway.set(false);
  await page.render(show(Log, {}));
  expect(page.text).toBe('loading:;');
});

// triggerdotdev/trigger.dev#2629
test('a new array, object, arrow, schema and fold with each render: nothing is asked, and no row is lost', async () => {
  const { gateway } = open();
  gateway.write('a:1', { n: 1 }, { n: 'two' }, { n: 3 });
  function Inline({ round }: { round: number }) {
    const list = useChannel('a:1', {
      since: 'start',
      schema: z.object({ n: z.number() }),
      select: (rows) => ({ numbers: [...rows].map(({ row }) => row.n).join(), invalid: rows.invalid }),
    });
    const fold = useFold('a:1', { begin: () => 0, step: (sum: number) => sum + 1 }, (sum) => [sum]);
    useChannelEvent('a:1', '*', () => {});
    return `${round}:${list.data?.numbers}/${list.data?.invalid}/${fold.data?.[0]}`;
  }
  await page.render(show(Inline, { round: 0 }));
  const said = [...gateway.said];
  for (let round = 1; round <= 20; round += 1) await page.render(show(Inline, { round }));
  expect([page.text, gateway.said]).toEqual(['20:1,3/1/3', said]);
  expect(said.filter((frame) => frame === 'subscribe a:1').length).toBeLessThanOrEqual(2); // a fold begins further back
});

test('a selection with equal content renders nothing', async () => {
  const { gateway } = open();
  let renders = 0;
  function Last() {
    renders += 1;
    return useChannel<N, { even: boolean }>('a:1', { select: (rows) => ({ even: rows.length % 2 === 0 }) }).status;
  }
  await page.render(show(Last, {}));
  const before = renders;
  await page.act(() => gateway.write('a:1', { n: 1 }, { n: 2 }));
  expect(renders).toBe(before);
});

test('another channel on the same component: never a row of the one before', async () => {
  const { gateway } = open();
  gateway.write('a:1', { n: 1 });
  gateway.write('a:2', { n: 2 });
  const seen: string[] = [];
  function Watched({ channel }: { channel: string }) {
    const { data } = useChannel<N>(channel);
    for (const event of data ?? []) if (event.channel !== channel) seen.push(`${event.channel} under ${channel}`);
    return Log({ channel });
  }
  await page.render(show(Watched, { channel: 'a:1' }));
  expect(page.text).toBe('live:1;');
  const texts: string[] = [];
  for (const channel of ['a:2', 'a:1', 'a:2']) {
    await page.render(show(Watched, { channel }));
    texts.push(page.text);
  }
  expect([texts, seen]).toEqual([['live:2;', 'live:1;', 'live:2;'], []]);
});

test('events between render and subscribe are shown', async () => {
  const { gateway, store } = open();
  await page.render(show(Log, {}));
  const other = store.channel('a:1');
  function Late() {
    if (gateway.rows('a:1').length === 0) gateway.write('a:1', { n: 1 }); // while it is rendered
    return show(Log, {});
  }
  await page.render(createElement(Fragment, null, show(Log, {}, 'first'), show(Late, {}, 'late')));
  expect(page.text).toBe('live:1;live:1;');
  expect(other.get().status).toBe('live');
});

// ably/ably-js#1795
test('300 channels one after the other: all but the last are given up', async () => {
  const { gateway } = open();
  for (let n = 1; n <= 300; n += 1) await page.render(show(Log, { channel: `a:${n}` }));
  await page.wait(3_000);
  const open300 = gateway.said.filter((frame) => frame.startsWith('subscribe')).length;
  const left = gateway.said.filter((frame) => frame.startsWith('unsubscribe')).length;
  expect([open300, left]).toEqual([300, 299]);
});

test('useChannelEvent: new events of its type, once each, also in StrictMode, and never an old one', async () => {
  const { gateway } = open();
  gateway.write('a:1', { event_type: 'ring', n: 1 });
  const heard: unknown[] = [];
  function Bell({ volume }: { volume: number }) {
    useChannelEvent<N>('a:1', 'ring', ({ row }) => heard.push([row.n, volume]));
    return show(Log, {});
  }
  await page.render(show(Bell, { volume: 1 }));
  await page.act(() => gateway.write('a:1', { event_type: 'ring', n: 2 }, { event_type: 'other', n: 3 }));
  await page.render(show(Bell, { volume: 2 }));
  await page.act(() => gateway.write('a:1', { event_type: 'ring', n: 4 }));
  expect(heard).toEqual([
    [2, 1],
    [4, 2],
  ]);
  await page.render(null);
  await page.wait(4_000);
  gateway.write('a:1', { event_type: 'ring', n: 5 });
  await page.render(show(Bell, { volume: 3 }));
  expect(heard).toHaveLength(2);
});

test('a refused channel has failed for good, and the others have not', async () => {
  const { gateway } = open();
  gateway.denied.add('a:2');
  await page.render(createElement(Fragment, null, show(Log, {}, '1'), show(Log, { channel: 'a:2' }, '2')));
  expect(page.text).toBe('live:;failed:;');
  gateway.denied.clear();
  await page.act(() => page.store.reconnect());
  expect(page.text).toBe('live:;live:;');
});

test('a lost connection: what is shown is stale, and clocks stand', async () => {
  const { gateway } = open();
  function Clock() {
    const { state } = useWebSocketConnection();
    return `${state} ${useNow()} `;
  }
  gateway.write('a:1', { n: 1 });
  await page.render(createElement(Fragment, null, show(Log, {}, 'log'), show(Clock, {}, 'clock')));
  await page.wait(2_000);
  const running = page.text;
  await page.wait(1_000);
  expect(page.text).not.toBe(running);
  await page.act(() => gateway.set(false));
  const standing = page.text;
  expect(standing).toMatch(/^stale:1;waiting \d+ $/);
  await page.wait(5_000);
  expect(page.text).toBe(standing);
  await page.act(() => gateway.set(true));
  expect(page.text).toMatch(/^live:1;connected /);
});

test('1,000 events a second for 10 seconds: at most 65 commits a second, and the memory of 1,000 rows', async () => {
  const { gateway } = open();
  let commits = 0;
  const onRender = () => {
    commits += 1;
  };
  const counted = createElement(Profiler, { id: 'log', onRender }, show(Log, {}));
  await page.render(counted);
  commits = 0;
  for (let n = 1; n <= 10_000; n += 1) {
    gateway.write('a:1', { n });
    await page.wait(1);
  }
  expect(commits).toBeGreaterThan(400);
  expect(commits).toBeLessThanOrEqual(650);
  await page.wait(FRAME);
  const { data } = page.store.channel('a:1').get();
  expect([data?.length, data?.dropped, data?.at(-1)?.seq]).toEqual([1_000, 9_000, 10_000]);
}, 60_000);

test('a server renders `idle`, connects nothing, and the page takes it over without a complaint', async () => {
  const { gateway } = open();
  gateway.write('a:1', { n: 1 });
  const html = renderToString(createElement(RowcastProvider, { store: page.store }, show(Log, {})));
  expect([html, gateway.said]).toEqual(['idle:;', []]);
  await page.hydrate(html, show(Log, {}));
  expect([page.text, page.errors, gateway.said]).toEqual(['live:1;', [], ['subscribe a:1']]);
});

// supabase/realtime-js#169
test('a provider that makes its own store: StrictMode does not close it for good, and nothing of it remains', async () => {
  open();
  const fetched: string[] = [];
  const options = {
    url: 'http://gateway.test',
    transports: ['sse'] as const,
    fetch: async (url: unknown) => {
      fetched.push(String(url));
      return new Promise<Response>(() => {});
    },
  };
  const app = createElement(RowcastProvider, options, show(Log, {}));
  await page.render(app);
  await new Promise((resolve) => setTimeout(resolve));
  expect([page.text, fetched]).toEqual(['loading:;', ['http://gateway.test/v1/sse']]);
  await page.unmount();
});
