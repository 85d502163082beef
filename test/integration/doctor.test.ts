import { createServer } from 'node:net';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { gateOutcome } from '../../server/doctor/advisory.js';
import type { Circumstances, Finding } from '../../server/doctor/check.js';
import { versionOutcome } from '../../server/doctor/reach.js';
import { freePort } from '../../server/ground/free-port.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { complaints, findingsAt } from '../support/doctor.js';
import { startTestGateway } from '../support/gateway.js';
import { killAll, runRowcast } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter, log, newExecution, processId } from '../support/writer.js';

let database: TestDatabase;
let writer: pg.Client;

beforeEach(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
});
afterEach(async () => {
  await writer.end();
  await database.drop();
});
afterAll(killAll);

const findings = (circumstances: Partial<Circumstances> = {}) => findingsAt(database.url, circumstances);

describe('the command', () => {
  const run = async (env: Record<string, string>, ...args: string[]) => {
    const rowcast = runRowcast(['doctor', ...args], { ROWCAST_URL: 'http://127.0.0.1:1', ...env });
    return { code: await rowcast.exited, output: rowcast.output(), errors: rowcast.errors() };
  };

  test('says that all is well, and ends with 0', async () => {
    await log(writer, await newExecution(writer), 20);
    const { code, output } = await run({ DATABASE_URL: database.url });
    expect(output).toMatch(/^CHECK +VERDICT +FOUND$/m);
    expect(output).toMatch(/^notify +ok +LISTEN receives NOTIFY/m);
    expect(output).toMatch(/^connections +ok .* a gateway opens up to 18;/m);
    expect(output).toMatch(/^streams +ok +execution: public\.agent_execution_logs, 5 triggers/m);
    expect(output).toMatch(/^gateway +skipped +none responds/m);
    expect(output).toMatch(/^0 faults, /m);
    expect(code).toBe(0);
  });

  test('asks the gateway, which leaves nothing to complain about', async () => {
    const gateway = await startTestGateway(database.url);
    const other = await createDatabase();
    const { code, output } = await run({ DATABASE_URL: database.url, ROWCAST_URL: gateway.url }, '--json');
    const elsewhere = await run({ DATABASE_URL: other.url, ROWCAST_URL: gateway.url });
    expect(elsewhere.output).toMatch(/^gateway +warning +ready, at .*, but no gateway is connected to this database/m);
    await gateway.stop();
    await other.drop();
    const all = JSON.parse(output) as Finding[];
    expect(all.at(-1)).toEqual({ name: 'gateway', verdict: 'ok', found: expect.stringContaining('ready'), fix: null });
    expect(complaints(all)).toEqual([]);
    expect(all.find(({ name }) => name === 'connections')?.found).toContain('gateways connected: 1');
    expect(code).toBe(0);
  });

  test('says the fault and its fix, and ends with 1', async () => {
    await writer.query('ALTER TABLE agent_execution_logs DISABLE TRIGGER zz_rowcast_ring');
    const { code, output } = await run({ DATABASE_URL: database.url });
    expect(output).toContain('fix: ALTER TABLE public.agent_execution_logs ENABLE TRIGGER zz_rowcast_ring;');
    expect(output).toMatch(/^1 fault, /m);
    expect(code).toBe(1);
  });

  test('never shows the password, and ends with 2 when it is called wrongly', async () => {
    const url = `postgres://ann:geheim@127.0.0.1:${await freePort()}/shop`;
    const { code, output, errors } = await run({ DATABASE_URL: url });
    expect(output).toMatch(/^connection +fault +127\.0\.0\.1:\d+\/shop as ann cannot be reached: .*ECONNREFUSED/m);
    expect(output).toMatch(/^streams +skipped +no connection$/m);
    expect(output + errors).not.toContain('geheim');
    expect(code).toBe(1);
    expect((await run({}, '--jsno')).code).toBe(2);
    expect(await run({ ROWCAST_DATA_DIR: '/nowhere' })).toMatchObject({
      code: 1,
      output: expect.stringMatching(/no database: set/),
    });
  });

  test('does not wait for a server that says nothing', async () => {
    const dumb = createServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => dumb.listen(0, '127.0.0.1', resolve));
    const { port } = dumb.address() as { port: number };
    const all = await findings({ databaseUrl: `postgres://ann@127.0.0.1:${port}/shop` });
    expect(all[0]).toMatchObject({ name: 'connection', verdict: 'fault', found: expect.stringContaining('timeout') });
    dumb.close();
  });
});

describe('the schema', () => {
  test('that is not there, or not up to date, or edited', async () => {
    await writer.query(`UPDATE rowcast.migrations SET checksum = 'x' WHERE name LIKE 'core/02%'`);
    await writer.query(`UPDATE rowcast.migrations SET name = 'core/99-later.sql' WHERE name LIKE 'core/01%'`);
    expect(complaints(await findings())).toEqual([
      'migrations fault: not run yet: core/01-installation.sql',
      'migrations fault: changed after they ran: core/02-roles.sql',
      'migrations warning: ran, but unknown here: core/99-later.sql',
    ]);
    await writer.query('DROP SCHEMA rowcast CASCADE');
    expect(complaints(await findings())).toEqual(['migrations fault: the schema rowcast does not exist']);
  });
});

describe('the server', () => {
  test('has a transaction that is open for long, whose text is not told', async () => {
    const slow = await connectWriter(database.url);
    await slow.query('BEGIN');
    await slow.query(`SELECT 'geheim'`);
    const all = await findings({ longTransaction: 0.001 });
    const found = all.find(({ name }) => name === 'transactions');
    expect(found?.verdict).toBe('warning');
    expect(found?.found).toContain(
      `pid ${processId(slow)} (rowcast-test, postgres, ${new URL(database.url).pathname.slice(1)}), idle in transaction`,
    );
    expect(found?.fix).toContain(`SELECT pg_terminate_backend(${processId(slow)});`);
    expect(JSON.stringify(all)).not.toContain('geheim');
    await slow.end();
  });

  test('has a foreign session at the gate, or at the lock of migrations', async () => {
    const thief = await connectWriter(database.url);
    thief.on('error', () => {});
    await thief.query('SELECT pg_advisory_lock(1919907683, 2)');
    await writer.query('SELECT pg_advisory_lock(1919907683, 1)');
    const all = await findings();
    expect(complaints(all)).toEqual([
      expect.stringMatching(/^gate fault: pid \d+ .* holds it and is no gateway/),
      expect.stringMatching(/^migration lock fault: pid \d+ .* holds it and is no migration/),
    ]);
    await writer.query('SELECT pg_advisory_unlock(1919907683, 1)');
    await writer.query(all.find(({ name }) => name === 'migration lock')?.fix ?? '');
    expect(complaints(await findings())).toEqual([]);
    await thief.end().catch(() => {});
  });

  test('has a gateway that is awake, and holds the gate as it should', async () => {
    const gateway = await startTestGateway(database.url, { ROWCAST_WAKE_RATE: '2' });
    const execution = await newExecution(writer);
    const held = () => findings().then((all) => all.find(({ name }) => name === 'gate'));
    const found = await until(
      async () => {
        for (let row = 0; row < 20; row += 1) await log(writer, execution);
        const gate = await held();
        return gate?.found.includes('(rowcast gate, ') ? gate : null;
      },
      { deadlineMs: 20_000, what: 'the gateway to hold the gate' },
    );
    expect(found).toMatchObject({ verdict: 'ok', found: expect.stringMatching(/ holds it, 0 wait/) });
    await gateway.stop();
  });

  test('ends a gateway that hangs at the gate', () => {
    const waiting = {
      pid: 8,
      granted: false,
      exclusive: true,
      application: 'rowcast gate',
      client: '10.0.0.1',
      age: 9,
      quiet: 99,
    };
    const held = { ...waiting, pid: 7, granted: true, quiet: 1 };
    expect(gateOutcome([held, waiting])).toMatchObject({ verdict: 'ok', found: expect.stringContaining('1 wait') });
    expect(gateOutcome([{ ...held, quiet: 11 }, waiting])).toMatchObject({
      verdict: 'fault',
      fix: expect.stringContaining('pg_terminate_backend(7)'),
    });
    const probing = { ...held, pid: 9, exclusive: false, application: 'shop', quiet: 0 };
    expect(gateOutcome([probing])).toMatchObject({ verdict: 'ok' });
    expect(gateOutcome([probing, { ...probing, quiet: 11, pid: 10 }])).toMatchObject({
      found: expect.stringMatching(/^pid 10/),
    });
  });

  test('has settings that hurt', async () => {
    const name = new URL(database.url).pathname.slice(1);
    await writer.query(`ALTER DATABASE ${name} SET session_replication_role = replica`);
    await writer.query(`ALTER DATABASE ${name} SET default_transaction_isolation = 'repeatable read'`);
    await writer.query(`ALTER DATABASE ${name} SET statement_timeout = '3s'`);
    await writer.query(`ALTER DATABASE ${name} SET idle_session_timeout = '1h'`);
    const all = await findings();
    expect(complaints(all)).toEqual([
      expect.stringMatching(/^settings warning: default_transaction_isolation = repeatable read/),
      expect.stringMatching(/^settings warning: idle_session_timeout = 3600000/),
      expect.stringMatching(/^settings fault: session_replication_role = replica/),
      expect.stringMatching(/^settings warning: statement_timeout = 3000/),
    ]);
  });

  test('has another clock', async () => {
    expect(complaints(await findings({ now: () => Date.now() - 5_000 }))).toEqual([
      'clock warning: the database is 5 s ahead of this machine',
    ]);
    expect(complaints(await findings({ now: () => Date.now() + 90_000 }))).toEqual([
      'clock warning: the database is 90 s behind this machine',
    ]);
  });

  test('is of a version that is too old', () => {
    expect(versionOutcome(180004, '18.4').verdict).toBe('ok');
    expect(versionOutcome(140012, '14.12').verdict).toBe('warning');
    expect(versionOutcome(130023, '13.23').found).toContain('idle_session_timeout');
  });

  test('keeps one check waiting, and the others go on', async () => {
    await writer.query('BEGIN; LOCK TABLE rowcast.migrations IN ACCESS EXCLUSIVE MODE');
    expect(complaints(await findings())).toEqual([
      expect.stringMatching(/^migrations skipped: could not be checked: canceling statement due to statement timeout/),
    ]);
    await writer.query('ROLLBACK');
  });
});
