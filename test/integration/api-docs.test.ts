import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { z } from 'zod';
import { type Demo, startDemo } from '../../server/engine/demo.js';
import { makeExtensions } from '../../server/extensions.js';
import type { Gateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { openApi } from '../../server/http/api/openapi.js';
import { problem } from '../../server/http/api/problem.js';
import { apiRoutes } from '../../server/http/api/router.js';
import { Delivery } from '../../server/limits/delivery.js';
import type { ExtensionContext } from '../../server/ports/extension.js';
import { migrate } from '../../server/postgres/migrate.js';
import { ask, JWT_SECRET } from '../support/api.js';
import { testClient } from '../support/client.js';
import { createDatabase, TEST_SESSION, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { lacks } from '../support/installed.mjs';
import { until } from '../support/until.js';

let database: TestDatabase;
let gateway: Gateway;
let demo: Demo;
let writer: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  await migrate(database.url, { with: ['engine'] });
  writer = new pg.Client({ connectionString: database.url, application_name: TEST_SESSION });
  await writer.connect();
  gateway = await startTestGateway(database.url, NO_RATES);
  demo = await startDemo(database.url, 'public', makeLogger('error'));
  await until(async () => (await steps()) >= 2, { what: 'two steps of the demo' });
  await demo.stop(); // so that an execution that the page looks at twice is the same
  // More than one page.
  const metric = `INSERT INTO execution_metrics (execution_id, metric_name, metric_value)
    SELECT execution_id, 'tokens', n FROM agent_executions, generate_series(1, 2) n`;
  await writer.query(metric);
});
afterAll(async () => {
  await gateway.stop();
  await writer.end();
  await database.drop();
});

async function steps(): Promise<number> {
  const done = `SELECT count(*)::int AS steps FROM agent_execution_logs WHERE event_type = 'task-completed'`;
  return (await writer.query<{ steps: number }>(done)).rows[0]?.steps ?? 0;
}

interface Example {
  readonly command: string;
  /** As the page shows it: `json`, or `http` with the status line and headers; null where it shows no answer. */
  readonly shown: { readonly form: string; readonly text: string } | null;
}

const page = readFileSync(join(import.meta.dirname, '../../docs/reference/api.md'), 'utf8');
const examples: Example[] = [
  ...page.matchAll(/^```console\n([\s\S]*?)^```(?:\n\n```(json|http)\n([\s\S]*?)^```)?/gm),
].map(([, command = '', form, text]) => ({
  command: command.replace(/^\$ /gm, ''),
  shown: form === undefined ? null : { form, text: text ?? '' },
}));

/** Runs the commands of the whole page in one shell; what each of its blocks printed. */
async function runAll(url: string): Promise<string[]> {
  const MARK = '=====';
  const script = examples.map(({ command }) => `${command}\nprintf '\\n${MARK}\\n'`).join('\n');
  const shell = spawn('bash', ['-e'], { stdio: ['pipe', 'pipe', 'inherit'] });
  shell.stdin.end(script.replaceAll('http://127.0.0.1:4400', url));
  return (await text(shell.stdout)).split(`\n${MARK}\n`).slice(0, -1);
}

/** What a JSON value looks like whatever its values are: null stands for all, and so does a list without an entry. */
function differences(shown: unknown, given: unknown, path = ''): string[] {
  if (shown === null || given === null) return [];
  if (Array.isArray(shown) && Array.isArray(given)) {
    return shown.length > 0 && given.length > 0 ? differences(shown[0], given[0], `${path}[0]`) : [];
  }
  if (typeof shown !== typeof given || Array.isArray(shown) !== Array.isArray(given)) {
    return [`${path}: ${typeof shown}, not ${typeof given}`];
  }
  if (typeof shown !== 'object' || /\.(context|metadata)$/.test(path)) return [];
  const [left, right] = [shown as Record<string, unknown>, given as Record<string, unknown>];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  return names.flatMap((name) => {
    if (!(name in left)) return [`${path}.${name} is not on the page`];
    if (!(name in right)) return [`${path}.${name} is not in the answer`];
    return differences(left[name], right[name], `${path}.${name}`);
  });
}

function compare({ form, text }: { form: string; text: string }, printed: string): string[] {
  if (form === 'json') return differences(JSON.parse(text), JSON.parse(printed));
  const [shownHead = '', shownBody = ''] = text.split('\n\n');
  const [givenHead = '', givenBody = ''] = printed.replaceAll('\r', '').split('\n\n');
  const [shownStatus, ...shownHeaders] = shownHead.split('\n');
  const [givenStatus, ...givenHeaders] = givenHead.split('\n');
  const names = (headers: string[]) => headers.map((line) => line.split(':')[0]);
  const missing = names(shownHeaders).filter((name) => !names(givenHeaders).includes(name));
  return [
    ...(shownStatus === givenStatus ? [] : [`${givenStatus}, not ${shownStatus}`]),
    ...missing.map((name) => `the header ${name} is missing`),
    ...differences(JSON.parse(shownBody), JSON.parse(givenBody)),
  ];
}

(lacks('the commands of the API page', 'curl') ? test.skip : test)(
  'every example of the page is answered as the page shows it',
  async () => {
    expect(examples.length).toBeGreaterThan(12);
    const printed = await runAll(gateway.url);
    expect(printed.length).toBe(examples.length);
    for (const [index, { command, shown }] of examples.entries()) {
      const wrong = shown === null ? [] : compare(shown, printed[index] ?? '');
      expect({ command, wrong }).toEqual({ command, wrong: [] });
    }
    expect(printed[2]?.trim()).toBe('304');
  },
);

const AsyncFunction = (async () => {}).constructor as new (...text: string[]) => (...given: unknown[]) => Promise<void>;

test('the JavaScript of the page shows every event of an execution that comes after what it was given', async () => {
  const [, id = ''] = demo.execution.split(':');
  const client = testClient({ url: gateway.url });
  const scripts = [...page.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, script = '']) => script);
  expect(scripts.length).toBeGreaterThan(0);
  for (const script of scripts) {
    const shown: unknown[] = [];
    const given = {
      API: `${gateway.url}/api/agents`,
      id,
      client,
      show: ({ message }: { message: string }) => shown.push(message),
    };
    await new AsyncFunction(...Object.keys(given), script)(...Object.values(given));
    const log = `INSERT INTO agent_execution_logs (execution_id, message) VALUES ($1, 'after that')`;
    await writer.query(log, [id]);
    await until(() => shown.includes('after that'), { what: `the event for ${script}` });
    expect(shown).toEqual(['after that']);
  }
});

test('an example that is answered in another way is found', () => {
  const shown = { form: 'http', text: 'HTTP/1.1 200 OK\nETag: "1"\n\n{"a":[{"b":1}],"c":null}' };
  expect(compare(shown, 'HTTP/1.1 200 OK\nETag: "2"\n\n{"a":[{"b":7},{}],"c":"text"}')).toEqual([]);
  expect(compare(shown, 'HTTP/1.1 404 Not Found\n\n{"a":[{"d":"7"}],"c":1,"e":2}')).toEqual([
    'HTTP/1.1 404 Not Found, not HTTP/1.1 200 OK',
    'the header ETag is missing',
    '.a[0].b is not in the answer',
    '.a[0].d is not on the page',
    '.e is not on the page',
  ]);
});

const unused = () => Promise.reject(new Error('nobody asks'));
const used = {
  access: { hold: unused },
  databaseFor: () => ({ transaction: unused, statement: unused }),
  bounds: { metadataBytes: 1, contextBytes: 1 },
};
const apis = makeExtensions(['executions', 'engine'].map((name) => ({ name, schema: 'public' }))).flatMap(
  (extension) => extension.api?.(used as unknown as ExtensionContext) ?? [],
);
const routes = apis.flatMap((api) => api.routes);
type Document = ReturnType<typeof JSON.parse>;
const METHODS = ['get', 'post', 'patch', 'delete', 'put'];

function operationsOf(document: Document): string[] {
  return Object.entries<Record<string, unknown>>(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method} ${path}`),
  );
}

test('the document has every route that is served, and no other', async () => {
  const { status, body } = await ask(gateway, '/api/openapi.json');
  expect(status).toBe(200);
  expect(body).toEqual(JSON.parse(JSON.stringify(openApi(apis, null))));
  interface Layer {
    readonly route?: { readonly path: string; readonly methods: Record<string, boolean> };
    readonly handle: { readonly stack?: readonly Layer[] };
  }
  const mounted = (stack: readonly Layer[]): string[] =>
    stack.flatMap(({ route, handle }) => [
      ...Object.keys(route?.methods ?? {})
        .filter((method) => METHODS.includes(method))
        .map((method) => `${method} /api${route?.path.replaceAll(/:(\w+)/g, '{$1}')}`),
      ...mounted(handle.stack ?? []),
    ]);
  const router = apiRoutes({
    apis,
    tokens: null,
    principalOf: unused,
    databaseFor: used.databaseFor,
    limit: (_request, _response, next) => next(),
    maxBodyBytes: 1024,
    charge: () => {},
    delivery: new Delivery(),
    users: { send: () => 0, refuseInDebt() {} },
    logger: makeLogger('silent'),
  });
  const served = mounted(router.stack as unknown as Layer[]).filter(
    (each) => /^get .api.(agents|executions)/.test(each) || !each.startsWith('get'),
  );
  expect(served.sort()).toEqual(operationsOf(body).sort());
  for (const path of Object.keys(body.paths)) {
    const { headers } = await ask(gateway, path.replaceAll(/\{\w+\}/g, 'x'), undefined, { method: 'PUT' });
    const documented = Object.keys(body.paths[path]).map((method) => method.toUpperCase());
    const also = documented.includes('GET') ? ['HEAD', 'OPTIONS'] : ['OPTIONS'];
    expect(headers.get('allow')?.split(', ').sort()).toEqual([...documented, ...also].sort());
  }
});

test('the document is sound: references lead somewhere, parameters are in their paths, refusals have one form', () => {
  const document: Document = JSON.parse(JSON.stringify(openApi(apis, null)));
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = '']) => path);
  const lost = references.filter((path) => path.split('/').reduce((at, name) => at?.[name], document) === undefined);
  expect(references.length).toBeGreaterThan(10);
  expect(lost).toEqual([]);
  const operations: Document[] = Object.entries<Document>(document.paths).flatMap(([path, methods]) =>
    Object.values<Document>(methods).map((operation) => ({ path, ...operation })),
  );
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
  const tags = document.tags.map(({ name }: { name: string }) => name);
  for (const { path, operationId, tags: own, summary, parameters = [], requestBody, responses } of operations) {
    const inPath = parameters.filter((each: Document) => each.in === 'path').map(({ name }: Document) => `{${name}}`);
    expect([operationId, inPath]).toEqual([operationId, path.match(/\{\w+\}/g) ?? []]);
    expect(tags).toEqual(expect.arrayContaining(own));
    expect(summary.length).toBeGreaterThan(5);
    const malformed = parameters.length > 0 || requestBody !== undefined ? ['400'] : [];
    expect(Object.keys(responses)).toEqual(expect.arrayContaining([...malformed, '401', '403', '429', '500', '503']));
    for (const [status, { content, description }] of Object.entries<Document>(responses)) {
      expect(description.length).toBeGreaterThan(5);
      if (Number(status) >= 400) expect(Object.keys(content)).toEqual(['application/problem+json']);
    }
  }
});

test('a body is optional in the document where {} is a body', async () => {
  const { paths } = (await ask(gateway, '/api/openapi.json')).body;
  expect(paths['/api/executions/{execution_id}/pause'].post.requestBody.required).toBe(false);
  expect(paths['/api/executions/start'].post.requestBody.required).toBe(true);
});

const KEY = { ROWCAST_JWT_SECRET: JWT_SECRET };
const COOKIE = { ROWCAST_COOKIE: 'session', ROWCAST_ORIGINS: 'https://app.example' };

test.each<[string, Record<string, string>, object, object[] | undefined]>([
  ['without a key', {}, {}, undefined],
  ['with a key', KEY, { bearer: { scheme: 'bearer' } }, [{ bearer: [] }]],
  [
    'with a key, a cookie, and readers without a token',
    { ...KEY, ...COOKIE, ROWCAST_ANONYMOUS: 'on' },
    { bearer: { scheme: 'bearer' }, cookie: { in: 'cookie', name: 'session' } },
    [{ bearer: [] }, { cookie: [] }, {}],
  ],
])('the document asks for a token as the gateway does: %s', async (_, settings, schemes, security) => {
  const other = await startTestGateway(database.url, { ...NO_RATES, ...settings });
  try {
    const { body } = await ask(other, '/api/openapi.json');
    const { securitySchemes = {} } = body.components;
    expect(Object.keys(securitySchemes)).toEqual(Object.keys(schemes));
    expect(securitySchemes).toMatchObject(schemes);
    expect(body.security).toEqual(security);
  } finally {
    await other.stop();
  }
});

test.each(['/api/docs/', '/api/docs/swagger-ui-bundle.js', '/api/openapi.json'])(
  'I6: %s is limited as the rest',
  async (path) => {
    const other = await startTestGateway(database.url, { ROWCAST_ADDRESS_POLL_RATE: '1' });
    try {
      const answers = await Promise.all(Array.from({ length: 5 }, () => fetch(`${other.url}${path}`)));
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429, 429]);
      for (const answer of answers) await answer.arrayBuffer();
    } finally {
      await other.stop();
    }
  },
);

test('every example of the document is one of its schema', () => {
  for (const { id, body, bodyExamples = {} } of routes) {
    for (const [name, example] of Object.entries(bodyExamples)) {
      expect([id, name, body?.safeParse(example).error?.issues]).toEqual([id, name, undefined]);
    }
  }
  const document: Document = JSON.parse(JSON.stringify(openApi(apis, null)));
  let count = 0;
  const walk = (at: Document, path: string) => {
    if (typeof at !== 'object' || at === null) return;
    // `example` beside the schema that it is of, in a parameter or in the schema itself.
    if ('example' in at && ('schema' in at || 'type' in at)) {
      count += 1;
      const schema = z.fromJSONSchema(at.schema ?? at);
      expect([path, schema.safeParse(at.example).error?.issues]).toEqual([path, undefined]);
    }
    if ('examples' in at && !Array.isArray(at.examples) && at.schema?.$ref === '#/components/schemas/Problem') {
      for (const { value } of Object.values<Document>(at.examples)) expect(problem.parse(value)).toEqual(value);
    }
    for (const [name, value] of Object.entries(at)) walk(value, `${path}/${name}`);
  };
  walk(document, '');
  expect(count).toBeGreaterThan(5);
});

test('an answer has what its schema says, and no more', async () => {
  const [, id] = demo.execution.split(':');
  const [, venture] = demo.venture.split(':');
  const paths = {
    listExecutions: `/api/agents/executions?venture_id=${venture}`,
    getExecution: `/api/agents/executions/${id}`,
    listLogs: `/api/agents/execution-logs/${venture}?offset=0`,
    getStatus: `/api/agents/executions/${id}/status`,
    listSteps: `/api/agents/executions/${id}/steps`,
    listMetrics: `/api/agents/executions/${id}/metrics`,
  };
  for (const [operation, path] of Object.entries(paths)) {
    const { status, body } = await ask(gateway, path);
    const schema = routes.find((route) => route.id === operation)?.responses[status]?.body;
    expect([operation, schema?.parse(body)]).toEqual([operation, body]);
  }
});
