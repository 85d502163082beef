import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterAll, beforeAll } from '@jest/globals';
import pg from 'pg';
import type { Page } from 'puppeteer-core';
import type { LocalGateway } from '../../server/gateway.js';
import { migrate } from '../../server/postgres/migrate.js';
import type { Config } from '../../server/settings/config.js';
import { createVenture } from '../support/api.js';
import { type BuiltDashboard, buildDashboard } from '../support/dashboard.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { until } from '../support/until.js';
import { useBrowser } from './browser.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What a test of the page needs: a database with a venture, a gateway that serves the page, and a browser. */
export interface DashboardWorld {
  readonly database: TestDatabase;
  readonly built: BuiltDashboard;
  readonly gateway: LocalGateway;
  readonly writer: pg.Pool;
  readonly venture: string;
  newPage(): Promise<Page>;
  /** A page that tells of every error, and of every request to elsewhere. */
  open(path: string): Promise<{ page: Page; troubles: string[] }>;
  /** Writes steps of two agents: the first done, the second at work, or failed. */
  agents(execution: string, failed?: boolean): Promise<void>;
  say(execution: string, message: string): Promise<unknown>;
}

/** `sets`: the SQL sets that the database gets beside those of every test. */
export function useDashboard(
  settings: Record<string, string> = {},
  values: Partial<Config> = {},
  sets: readonly string[] = [],
): DashboardWorld {
  let database: TestDatabase;
  let built: BuiltDashboard;
  let gateway: LocalGateway;
  let writer: pg.Pool;
  let venture: string;
  const browser = useBrowser('chromium');
  beforeAll(async () => {
    [database, built] = await Promise.all([createDatabase(), buildDashboard()]);
    if (sets.length > 0) await migrate(database.url, { with: sets });
    writer = new pg.Pool({ connectionString: database.url, application_name: TEST_SESSION });
    gateway = await startTestGateway(database.url, { ...NO_RATES, ...settings }, values, { dashboard: built.folder });
    venture = await createVenture(writer, 'ann');
  });
  afterAll(async () => {
    await gateway.stop();
    await writer.end();
    await Promise.all([database.drop(), built.remove()]);
  });
  return {
    get database() {
      return database;
    },
    get built() {
      return built;
    },
    get gateway() {
      return gateway;
    },
    get writer() {
      return writer;
    },
    get venture() {
      return venture;
    },
    newPage: browser.newPage,
    async open(path) {
      const page = await browser.newPage();
      const troubles: string[] = [];
      page.on('pageerror', (error) => troubles.push(String(error)));
      page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()));
      page.on('response', (response) => response.status() === 404 && troubles.push(response.url()));
      page.on('request', (request) => {
        if (!request.url().startsWith(gateway.url)) troubles.push(`a request to ${request.url()}`);
      });
      await page.goto(`${gateway.url}${path}`);
      return { page, troubles };
    },
    async agents(execution, failed = false) {
      await writer.query(
        `INSERT INTO agent_execution_logs (execution_id, event_type, message, context, log_level) VALUES
           ($1, 'execution-planned', 'the plan', '{"stages":[{"name":"read","steps":2},{"name":"write","steps":2}]}', 'info'),
           ($1, 'task-assigned', 'read it', '{"step_id":"1","step":"read it","agent":"reader"}', 'info'),
           ($1, 'task-completed', 'read it', '{"step_id":"1","step":"read it","agent":"reader","success":true,"duration_ms":1200}', 'info'),
           ($1, 'task-assigned', 'write it', '{"step_id":"2","step":"write it","agent":"writer"}', 'warning')`,
        [execution],
      );
      if (!failed) return;
      await fail(writer, execution);
      await end(writer, execution, 'failed');
    },
    say: (execution, message) =>
      writer.query('INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, $2)', [execution, message]),
  };
}

/** The step of the second agent fails. */
export const fail = (writer: pg.Pool, execution: string) =>
  writer.query(
    `INSERT INTO agent_execution_logs (execution_id, event_type, log_level, message, context) VALUES
       ($1, 'task-failed', 'error', 'write it', '{"step_id":"2","step":"write it","agent":"writer","error":"timeout after 30 s"}')`,
    [execution],
  );

export const end = (writer: pg.Pool, execution: string, status: string) =>
  writer.query('UPDATE agent_executions SET status = $2::rowcast.execution_status WHERE execution_id = $1', [
    execution,
    status,
  ]);

export const textOf = (page: Page, selector = 'body') => page.$eval(selector, (element) => element.textContent ?? '');

export const shows = (page: Page, text: string, selector = 'body') =>
  until(async () => (await textOf(page, selector).catch(() => '')).includes(text), {
    what: `the page to show ${text}`,
  });

/** What axe finds, as `rule: selector`. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(`globalThis.axe ?? (() => { ${AXE} })()`);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(options: object): Promise<{ violations: { id: string; nodes: { target: string[] }[] }[] }> };
    };
    const { violations } = await axe.run({ resultTypes: ['violations'], preload: false });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`));
  });
}
