/** @needs chromium */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Page } from 'puppeteer-core';
import { AgentError } from '../../server/engine/attempt.js';
import { Engine } from '../../server/engine/engine.js';
import type { PlanInput } from '../../server/engine/plan.js';
import { AgentWorker } from '../../server/engine/worker.js';
import { type ConnectedDatabase, connectDatabase } from '../../server/postgres/connect-database.js';
import { until } from '../support/until.js';
import { shows, textOf, useDashboard, violations } from './dashboard-world.js';

let services: ConnectedDatabase;
let engine: Engine;
let worker: AgentWorker;

// Before the one of the world, which drops the database.
afterAll(async () => {
  await worker.stop({ drain: 0 });
  await services.close();
});
const world = useDashboard({}, {}, ['engine']);

beforeAll(async () => {
  services = connectDatabase(world.database.url);
  engine = new Engine(services);
  const twice = ({ attempt }: { attempt: number }) => {
    if (attempt < 3) throw new AgentError('transient', 'the model did not answer', { retryAfter: 1 });
    return { done: true };
  };
  const once = ({ attempt }: { attempt: number }) => {
    if (attempt === 1) throw new AgentError('permanent', 'the letter has no address');
    return { sent: 1 };
  };
  worker = new AgentWorker(services, {
    agents: { twice: { run: twice }, once: { run: once }, works: { run: () => 1 }, waits: { run: hang } },
    name: 'worker-of-the-test',
    gateway: world.gateway,
  });
  await worker.start();
});

/** An agent that runs until it is aborted. */
const hang = ({ signal }: { signal: AbortSignal }) =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

const press = async (page: Page, text: string) => {
  await page.waitForSelector(`::-p-text(${text})`);
  await page.evaluate((wanted) => {
    const buttons = [...document.querySelectorAll('button')];
    buttons.find(({ textContent }) => textContent?.includes(wanted))?.click();
  }, text);
};

const PLAN: PlanInput = {
  tasks: [
    { name: 'flaky', agent_type: 'twice' },
    { name: 'send', agent_type: 'once' },
    { name: 'tell', agent_type: 'works', needs: ['send'] },
    { name: 'approve', kind: 'human', needs: ['flaky'] },
  ],
  options: { on_failure: 'hold' },
};

test('a plan is checked and started, a failed task is retried, a person decides, and the execution completes', async () => {
  const { page, troubles } = await world.open(`/engine?venture=${world.venture}`);
  await shows(page, 'worker-of-the-test');
  await shows(page, 'alive');
  const fill = (text: string) =>
    page.$eval(
      '.start__plan',
      (field, value) => {
        const { set } = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value') ?? {};
        set?.call(field, value);
        field.dispatchEvent(new Event('input', { bubbles: true }));
      },
      text,
    );
  await fill('{');
  await press(page, 'Check');
  await shows(page, 'The plan is not JSON');
  const [first, ...rest] = PLAN.tasks ?? [];
  await fill(JSON.stringify({ tasks: [{ ...first, needs: ['approve'] }, ...rest] }));
  await press(page, 'Check');
  await shows(page, 'a cycle: flaky → approve → flaky');
  await fill(JSON.stringify(PLAN));
  await press(page, 'Check');
  await shows(page, '4 tasks, at most 2 at the same time');
  await press(page, 'Run');
  await shows(page, 'the letter has no address', '.task');
  await shows(page, 'skipped', '.graph');
  await press(page, 'Retry');
  await shows(page, '3 of 4 completed');
  await press(page, 'approve');
  await press(page, 'Approve');
  await shows(page, '4 of 4 completed');
  await shows(page, '"approved":true', '.task');
  await shows(page, 'completed', '.rc-execution .rc-status');
  await press(page, 'Attempts');
  await page.waitForSelector('.attempts__bar');
  const bars = await page.$$eval('.attempts tr', (rows) =>
    rows.map((row) => [...row.querySelectorAll('.attempts__bar')].map((bar) => bar.getAttribute('data-state'))),
  );
  expect(bars).toEqual([['failed', 'failed', 'completed'], ['failed', 'completed'], ['completed']]);
  expect(troubles).toEqual([]);
});

test('an execution that has failed is a dead letter, and its rest runs again as another one', async () => {
  const { value } = await engine.start(world.venture, { tasks: [{ name: 'lost', agent_type: 'once' }] });
  const { page, troubles } = await world.open(`/engine?venture=${world.venture}`);
  await shows(page, 'lost');
  await press(page, 'Run again');
  await shows(page, '0 of 1 completed');
  expect(page.url()).not.toContain(value.execution_id);
  expect(troubles).toEqual([]);
});

test('an execution that the engine does not run has no tasks to show, and pause at once gives its tasks back', async () => {
  const other = await world.writer.query<{ id: string }>(
    `INSERT INTO agent_executions (venture_id, status) VALUES ($1, 'running') RETURNING execution_id AS id`,
    [world.venture],
  );
  const tracked = await world.open(`/e/${other.rows[0]?.id}`);
  await shows(tracked.page, 'running');
  await tracked.page.waitForNetworkIdle();
  expect(await tracked.page.$('.engine')).toBeNull();
  expect(tracked.troubles).toEqual([]);
  const { value } = await engine.start(world.venture, { tasks: [{ name: 'long', agent_type: 'waits' }] });
  const { page } = await world.open(`/e/${value.execution_id}`);
  await press(page, 'Pause at once');
  await shows(page, 'paused', '.rc-execution .rc-status');
  await shows(page, 'ready', '.graph');
  expect(await textOf(page, '.engine__counts')).toContain('0 running');
  await engine.cancel(value.execution_id);
  await shows(page, 'Run the rest again');
  await page.keyboard.press('[');
  await until(async () => (await page.$('.engine')) === null, { what: 'a past without the tasks of now' });
  await page.keyboard.press('l');
  await page.waitForSelector('.engine__header > button:enabled');
  await press(page, 'Pull the plug');
  await page.waitForSelector('.engine__header > button:disabled');
});

test('axe finds nothing in either scheme, and nothing is wider than 320 pixels', async () => {
  const { value } = await engine.start(world.venture, { ...PLAN, options: {} });
  for (const path of [`/engine?venture=${world.venture}`, `/e/${value.execution_id}`]) {
    const { page } = await world.open(path);
    await page.waitForSelector('.graph__node, .start');
    expect(await violations(page)).toEqual([]);
    if (path.startsWith('/e/')) {
      await press(page, 'Attempts');
      await page.waitForSelector('.attempts__bar');
    }
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    expect(await violations(page)).toEqual([]);
    await page.setViewport({ width: 320, height: 800 });
    const wider = () =>
      page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await until(async () => (await wider()) <= 0, { what: 'a page that fits' });
  }
  await engine.cancel(value.execution_id);
});
