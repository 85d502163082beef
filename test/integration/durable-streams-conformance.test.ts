import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SignJWT } from 'jose';
import { z } from 'zod';
import type { Gateway } from '../../server/gateway.js';
import { packageRoot } from '../../server/ground/package-root.js';
import { FAILING, type LeftOut, NOT_RUN } from '../durable-streams/left-out.js';
import { type StandIn, startStandIn } from '../durable-streams/stand-in.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';

const SECRET = 'the secret of the conformance tests';

/** For all of them; in milliseconds. */
const PATIENCE = 150_000;

let database: TestDatabase;
let gateway: Gateway;
let standIn: StandIn;
let vitest: ChildProcess | undefined;

beforeAll(async () => {
  database = await createDatabase();
  // With a secret, because pages of every origin may read only then, and one of the tests is such a page.
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_JWT_SECRET: SECRET });
  const token = await new SignJWT({ sub: 'reader', role: 'service_role' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));
  standIn = await startStandIn(database.url, gateway.url, token);
});
afterAll(async () => {
  vitest?.kill();
  await standIn.stop();
  await gateway.stop();
  await database.drop();
});

const vitestReport = z.object({
  testResults: z.array(
    z.object({
      assertionResults: z.array(
        z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()).nullish() }),
      ),
    }),
  ),
});

type Result = z.infer<typeof vitestReport>['testResults'][number]['assertionResults'][number];

const groupsOf = (list: readonly LeftOut[]) => list.flatMap(({ groups = [] }) => groups);
const testsOf = (list: readonly LeftOut[]) => list.flatMap(({ tests = [] }) => tests);

/** Whether a list names a test, by itself or with its group. */
function lists(list: readonly LeftOut[], name: string): boolean {
  return testsOf(list).includes(name) || groupsOf(list).some((group) => name.startsWith(group));
}

/** Matches the names of the tests that are run. */
function runPattern(): string {
  const literal = (name: string) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const names = [...testsOf(NOT_RUN).map((name) => `${literal(name)}$`), ...groupsOf(NOT_RUN).map(literal)];
  return `^(?!${names.join('|')})`;
}

async function runConformanceTests(): Promise<Result[]> {
  const root = packageRoot();
  const child = spawn(
    process.execPath,
    [
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--config',
      join(root, 'test/durable-streams/vitest.config.mjs'),
      '--testNamePattern',
      runPattern(),
    ],
    { env: { PATH: process.env.PATH ?? '', STAND_IN_URL: standIn.url }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  vitest = child;
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (!output.startsWith('{')) throw new Error(`vitest gave no report: ${output}${errors}`);
  return vitestReport.parse(JSON.parse(output)).testResults.flatMap(({ assertionResults }) => assertionResults);
}

test(
  'reading by the Durable Streams protocol passes its conformance tests, but for those that are listed with a reason',
  async () => {
    const results = await runConformanceTests();
    const names = results.map(({ fullName }) => fullName);
    const run = results.filter(({ status }) => status === 'passed' || status === 'failed');
    const passed = run.filter(({ status }) => status === 'passed');

    const unexpected = run
      .filter(({ fullName, status }) => status === (lists(FAILING, fullName) ? 'passed' : 'failed'))
      .map(({ fullName, status, failureMessages }) => `${status}: ${fullName}\n${failureMessages?.join('\n') ?? ''}`);
    expect(unexpected).toEqual([]);

    const listed = [...NOT_RUN, ...FAILING];
    expect(testsOf(listed).filter((name) => !names.includes(name))).toEqual([]);
    expect(groupsOf(listed).filter((group) => !names.some((name) => name.startsWith(group)))).toEqual([]);
    // None is left out without a reason.
    expect(names.filter((name) => lists(NOT_RUN, name)).length).toBe(results.length - run.length);

    const page = await readFile(join(packageRoot(), 'docs/reference/durable-streams.md'), 'utf8');
    const [failed, notRun] = [run.length - passed.length, results.length - run.length];
    expect(page).toContain(`${passed.length} of its ${results.length} tests pass this way. ${failed} are run and fail`);
    expect(page).toContain(`The other ${notRun} are not run`);
  },
  PATIENCE,
);
