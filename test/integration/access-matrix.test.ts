import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { openEventStream } from '../support/event-stream.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import type { Claims } from '../support/issuer.js';
import { join, newTenant, type Tenant, TOKENS, tokenOf } from '../support/principals.js';
import { until } from '../support/until.js';
import { codeOf, type Reading, WAYS } from '../support/ways-to-read.js';
import { connectWriter } from '../support/writer.js';

/** What is not said here to be allowed is denied: to each of these, each channel, each route. */
const PRINCIPALS = ['nobody', 'anon', 'anon by token', 'stranger', 'viewer', 'editor', 'neighbour', 'service'] as const;
type Name = (typeof PRINCIPALS)[number];
type Allowed = readonly Name[];

const OF_A: Allowed = ['viewer', 'editor', 'service'];
const OF_B: Allowed = ['neighbour', 'service'];

/** Who reads which channel. */
const READERS: Readonly<Record<string, Allowed>> = {
  'the execution of A': OF_A,
  'the venture of A': OF_A,
  'the execution of B': OF_B,
  'the venture of B': OF_B,
  'a message': ['service'],
  // A guard decides alone. This one looks at the name, and not at the role.
  'what a guard gives to the viewer': ['viewer', 'anon by token', 'service'],
  'what a policy gives to the viewer': ['viewer', 'service'],
};

/** What a service, who may read all that is there, hears of what is not; everybody else is told the same as of the rest. */
const NOTHING: Readonly<Record<string, readonly [channel: string, code: string]>> = {
  'an unknown execution': ['execution:00000000-0000-4000-8000-000000000000', 'unknown_channel'],
  'an unknown stream': ['nothing:here', 'unknown_channel'],
  'no key': ['execution:abc', 'invalid_channel'],
};

const READS = { A: OF_A, B: OF_B };
const WRITES: Record<'A' | 'B', Allowed> = { A: ['editor', 'service'], B: ['service'] };

/** Who may call which operation of the HTTP API, on what is of A and of B. */
const OPERATIONS: Readonly<Record<string, typeof READS>> = {
  listExecutions: READS,
  getExecution: READS,
  listLogs: READS,
  searchLogs: READS,
  getStatus: READS,
  listSteps: READS,
  listMetrics: READS,
  createExecution: WRITES,
  changeExecution: WRITES,
  appendLogs: WRITES,
  recordMetrics: WRITES,
};

let database: TestDatabase;
let writer: pg.Client;
/** Who shows no token is refused by the one, and is `anon` to the other. */
let strict: Gateway;
let open: Gateway;
let a: Tenant;
let b: Tenant;
const tokens: Partial<Record<Name, string>> = {};
let channels: Readonly<Record<string, string>>;

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  a = await newTenant(writer, 'A');
  b = await newTenant(writer, 'B');
  await join(writer, a, 'viewer');
  await join(writer, a, 'editor', 'editor');
  await join(writer, b, 'neighbour');
  await writer.query(`
    CREATE SCHEMA app;
    GRANT USAGE ON SCHEMA app TO authenticated, anon;
    CREATE FUNCTION app.own(key text) RETURNS boolean LANGUAGE sql STABLE RETURN key = rowcast.subject();
    CREATE TABLE app.guarded (key text NOT NULL, body text);
    CREATE TABLE app.notes (owner text NOT NULL, body text);
    SELECT rowcast.attach('app.guarded', 'key'), rowcast.attach('app.notes', 'owner');
    SELECT rowcast.guard('guarded', 'app.own');
    ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
    GRANT SELECT ON app.notes TO authenticated;
    CREATE POLICY own ON app.notes TO authenticated USING (owner = rowcast.subject());
    INSERT INTO app.guarded VALUES ('viewer', 'of A'), ('neighbour', 'of B');
    INSERT INTO app.notes VALUES ('viewer', 'of A'), ('neighbour', 'of B');
    SELECT rowcast.publish('message:lobby', 'said', '"of A"')`);
  const settings = { ...NO_RATES, ...TOKENS, ROWCAST_USER_CONNECTIONS: '100' };
  strict = await startTestGateway(database.url, settings);
  open = await startTestGateway(database.url, { ...settings, ROWCAST_ANONYMOUS: 'on' });
  for (const name of ['stranger', 'viewer', 'editor', 'neighbour'] as const) tokens[name] = await tokenOf(name);
  tokens.service = await tokenOf('service', { role: 'service_role' });
  tokens['anon by token'] = await tokenOf('viewer', { role: 'anon' });
  channels = {
    'the execution of A': `execution:${a.execution}`,
    'the venture of A': `venture:${a.venture}`,
    'the execution of B': `execution:${b.execution}`,
    'the venture of B': `venture:${b.venture}`,
    'a message': 'message:lobby',
    'what a guard gives to the viewer': 'guarded:viewer',
    'what a policy gives to the viewer': 'notes:viewer',
    ...Object.fromEntries(Object.entries(NOTHING).map(([name, [channel]]) => [name, channel])),
  };
});
afterAll(async () => {
  await Promise.all([strict.stop(), open.stop()]);
  await writer.end();
  await database.drop();
});

const urlFor = (name: Name) => (name === 'anon' ? open.url : strict.url);
const headersOf = (name: Name): Record<string, string> =>
  tokens[name] === undefined ? {} : { authorization: `Bearer ${tokens[name]}` };
const everybody = <T>(work: (name: Name) => Promise<T>) =>
  Promise.all(PRINCIPALS.map(async (name) => [name, await work(name)] as const));

/** `its rows`, where all that came is of the channel that was asked for. */
function shown(reading: Reading, channel: string): string {
  if (typeof reading === 'string') return reading;
  const [of, other] = channel.includes('B') ? [b, a] : [a, b];
  const isOf = (text: string, { execution, venture, name }: Tenant) =>
    [execution, venture, `of ${name}`].some((mark) => text.includes(mark));
  const foreign = reading.map((row) => JSON.stringify(row)).find((row) => !isOf(row, of) || isOf(row, other));
  return reading.length > 0 && foreign === undefined ? 'its rows' : `not its rows: ${foreign}`;
}

test.each(Object.entries(WAYS))(
  'I5: each channel is read by those who may, and by nobody else: %s',
  async (_, read) => {
    const names = Object.keys(channels);
    const found = await everybody((name) => read(urlFor(name), tokens[name], Object.values(channels)));
    const cells = found.flatMap(([name, readings]) =>
      readings.map((reading, index) => [`${name}: ${names[index]}`, shown(reading, names[index] ?? '')]),
    );
    const wanted = (name: Name, channel: string) => {
      if (name === 'nobody') return 'unauthorized';
      if (READERS[channel]?.includes(name)) return 'its rows';
      return (name === 'service' && NOTHING[channel]?.[1]) || 'forbidden';
    };
    expect(Object.fromEntries(cells)).toEqual(
      Object.fromEntries(PRINCIPALS.flatMap((name) => names.map((of) => [`${name}: ${of}`, wanted(name, of)]))),
    );
  },
);

test('I5: what is not a channel: the list of all, tickets, commands for the connection of another', async () => {
  const session = 'of-the-viewer';
  const stream = await openEventStream(`${strict.url}/v1/sse?channel=execution:${a.execution}&session=${session}`, {
    headers: headersOf('viewer'),
  });
  const command = JSON.stringify({ session, commands: [{ type: 'ping', id: 1 }] });
  const call = async (name: Name, method: string, path: string, body?: string) => {
    const init = { method, headers: headersOf(name), ...(body === undefined ? {} : { body }) };
    const answer = await fetch(`${urlFor(name)}${path}`, init);
    const text = await answer.text();
    return answer.ok ? 'done' : codeOf(answer.status, text);
  };
  const found = await everybody(async (name) => [
    await call(name, 'GET', '/v1/channels'),
    await call(name, 'POST', '/v1/tickets'),
    await call(name, 'POST', '/v1/commands', command),
  ]);
  stream.close();
  const user = ['forbidden', 'done', 'unknown_session'];
  const anon = ['forbidden', 'unauthorized', 'unknown_session'];
  expect(Object.fromEntries(found)).toEqual({
    nobody: ['unauthorized', 'unauthorized', 'unauthorized'],
    anon,
    // It is the same subject.
    'anon by token': ['forbidden', 'unauthorized', 'done'],
    stranger: user,
    viewer: ['forbidden', 'done', 'done'],
    editor: user,
    neighbour: user,
    service: ['done', 'done', 'unknown_session'],
  });
});

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: {
    readonly content: Record<string, { readonly examples?: Record<string, { readonly value: object }> }>;
  };
}
type Document = { readonly paths: Record<string, Record<string, Operation>> };

/** The ids of a tenant, for path, query and body; and of one that is not there. */
const idsOf = ({ venture, execution }: Tenant) => ({ venture_id: venture, execution_id: execution });
const NOWHERE = '00000000-0000-4000-8000-000000000000';

test('I5: each operation of the API: the right code for everybody who may not, and nothing of another in any answer', async () => {
  const { paths } = (await (await fetch(`${strict.url}/api/openapi.json`)).json()) as Document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })),
  );
  const targets = {
    A: idsOf(a),
    B: idsOf(b),
    nothing: { venture_id: NOWHERE, execution_id: NOWHERE },
  };
  type Target = keyof typeof targets;
  const ask = async (
    name: Name,
    { path, method, parameters = [], requestBody }: (typeof operations)[number],
    of: Target,
  ) => {
    const ids = new Map(Object.entries(targets[of]));
    const query = parameters.filter((parameter) => parameter.in === 'query' && parameter.name === 'venture_id');
    const search = new URLSearchParams(query.map((parameter) => [parameter.name, ids.get(parameter.name) ?? '']));
    const [example] = Object.values(requestBody?.content['application/json']?.examples ?? {});
    const mine = Object.entries(example?.value ?? {}).map(([field, value]) => [field, ids.get(field) ?? value]);
    const body = requestBody === undefined ? {} : { body: JSON.stringify(Object.fromEntries(mine)) };
    const answer = await fetch(
      `${urlFor(name)}${path.replaceAll(/\{(\w+)\}/g, (_, id) => ids.get(id) ?? '')}?${search}`,
      {
        method,
        headers: { ...headersOf(name), 'Content-Type': 'application/json' },
        ...body,
      },
    );
    const text = await answer.text();
    if (['of A', 'of B'].some((mark) => text.includes(mark) && !(answer.ok && mark === `of ${of}`)))
      return `leaks: ${text}`;
    return answer.ok ? 'done' : codeOf(answer.status, `{"error":${text}}`);
  };
  const wanted = (name: Name, operation: string, of: Target, path: string) => {
    if (name === 'nobody') return 'unauthorized';
    if (of !== 'nothing' && OPERATIONS[operation]?.[of].includes(name)) return 'done';
    if (of !== 'nothing' || name.startsWith('anon')) return 'forbidden';
    return path.includes('{execution_id}') ? 'unknown_execution' : 'unknown_venture';
  };
  const found: [string, string][] = [];
  const right: [string, string][] = [];
  for (const operation of operations) {
    const { operationId, path } = operation;
    // One target after the other: two of the principals are one subject, and a subject searches five times at once.
    for (const of of Object.keys(targets) as Target[]) {
      const answers = await Promise.all(PRINCIPALS.map((name) => ask(name, operation, of)));
      for (const [index, name] of PRINCIPALS.entries()) {
        const cell = `${name}: ${operationId} of ${of}`;
        found.push([cell, answers[index] ?? '']);
        right.push([cell, wanted(name, operationId, of, path)]);
      }
    }
  }
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(right));
  expect(operations.map(({ operationId }) => operationId).sort()).toEqual(Object.keys(OPERATIONS).sort());
});

test('I5: executions by their ids: those of others are missing, as are those that are not there', async () => {
  const ids = [a.execution, b.execution, NOWHERE];
  const found = await everybody(async (name) => {
    const answer = await fetch(`${urlFor(name)}/api/agents/executions?ids=${ids}`, { headers: headersOf(name) });
    const body = (await answer.json()) as { executions?: { execution_id: string }[]; code?: string };
    return body.executions?.map(({ execution_id }) => 'AB'[ids.indexOf(execution_id)]).sort() ?? body.code;
  });
  expect(Object.fromEntries(found)).toEqual({
    nobody: 'unauthorized',
    anon: 'forbidden',
    'anon by token': 'forbidden',
    stranger: [],
    viewer: ['A'],
    editor: ['A'],
    neighbour: ['B'],
    service: ['A', 'B'],
  });
});

/** Of a member of A, each: no claim makes more of anybody, and none leads to another name. */
const ODD: readonly (readonly [what: string, subject: string, claims: Claims])[] = [
  ...(
    ['postgres', 'rowcast_gateway', 'SERVICE_ROLE', ' service_role', ['service_role'], { service_role: true }] as const
  ).map((role) => [`the role ${JSON.stringify(role)}`, 'viewer', { role }] as const),
  ['a role elsewhere', 'viewer', { roles: ['service_role'], app_metadata: { role: 'service_role' } }],
  [
    'claims that are names of settings',
    'viewer',
    { 'request.jwt.claims': '{"sub":"neighbour"}', role_: 'service_role' },
  ],
  ['a subject like a role', 'service_role', {}],
  ['quotes', `o'bri"en'); SET ROLE service_role; --`, {}],
  ['a dollar and a backslash', '$1 \\x27 $$ %s \\', {}],
  ['an emoji and another script', 'Зоя 👩‍🚀', {}],
  ['a line end', 'a\r\nb', {}],
  ['10 KB of claims', 'viewer', { groups: Array.from({ length: 500 }, (_, index) => `group-number-${index}`) }],
];

test.each(ODD)('I5: a token with %s opens what is of its subject, and no more', async (_, subject, claims) => {
  if (subject !== 'viewer') await join(writer, a, subject);
  const token = await tokenOf(subject, claims);
  const asked = [`execution:${a.execution}`, `execution:${b.execution}`, 'message:lobby'];
  const [own, foreign, message] = (await WAYS['poll by POST']?.(strict.url, token, asked)) ?? [];
  const headers = { authorization: `Bearer ${token}` };
  const statusOf = async (path: string) => (await fetch(`${strict.url}${path}`, { headers })).status;
  expect({
    own: shown(own ?? '', 'A'),
    foreign,
    message,
    list: await statusOf('/v1/channels'),
    api: [
      await statusOf(`/api/agents/executions/${a.execution}`),
      await statusOf(`/api/agents/executions/${b.execution}`),
    ],
  }).toEqual({ own: 'its rows', foreign: 'forbidden', message: 'forbidden', list: 403, api: [200, 403] });
});

test.each([
  ['a NUL', 'view\0er'],
  ['half a character', 'viewer\ud800'],
  ['no name', ''],
])('I5: a token whose subject has %s is nobody', async (_, subject) => {
  const [reading] = (await WAYS.poll?.(strict.url, await tokenOf(subject), [`execution:${a.execution}`])) ?? [];
  expect(reading).toBe('unauthorized');
});

test('I5: what anon is granted, as the page on access shows it, it may read in every way', async () => {
  const page = readFileSync(`${import.meta.dirname}/../../docs/reference/access.md`, 'utf8');
  const grants = /```sql\n(GRANT SELECT ON ventures[\s\S]*?)```/.exec(page)?.[1] ?? '';
  const asked = (execution: string, venture: string) => [
    `/v1/poll?channel=execution:${execution}&wait=0`,
    `/api/agents/executions?venture_id=${venture}`,
    ...['', '/status', '/steps', '/metrics'].map((part) => `/api/agents/executions/${execution}${part}`),
    `/api/agents/execution-logs/${venture}`,
  ];
  const statuses = (execution: string, venture: string) =>
    Promise.all(asked(execution, venture).map(async (path) => (await fetch(`${open.url}${path}`)).status));
  expect(await statuses(a.execution, a.venture)).toEqual([403, 403, 403, 403, 403, 403, 403]);
  await writer.query(grants.replace('00000000-0000-4000-8000-000000000001', a.venture));
  const reading = async () => (await statuses(a.execution, a.venture)).join();
  await until(async () => (await reading()) === '200,200,200,200,200,200,200', { what: 'the grant to be felt' });
  expect(await statuses(b.execution, b.venture)).toEqual([403, 403, 403, 403, 403, 403, 403]);
  expect(await statuses(NOWHERE, NOWHERE)).toEqual([403, 404, 404, 404, 404, 404, 404]);
});
