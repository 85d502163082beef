import { expect, test } from '@jest/globals';
import { Limiter } from '../../server/limits/limiter.js';
import { UserLimits } from '../../server/limits/users.js';
import { systemClock } from '../../server/ports/clock.js';
import { anybody, Client, World } from '../property/clients.js';
import { FakeClock, settle } from '../support/fakes.js';

const MIB = 1024 * 1024;
const who = (subject: string, role: 'authenticated' | 'service_role' = 'authenticated') => ({
  subject,
  role,
  claims: '{}',
  expiresAt: null,
});

test('I6: what is sent to one user is bounded over all its connections; others and services do not wait', () => {
  const clock = new FakeClock();
  const users = new UserLimits(new Limiter({ each: { rate: 1 } }), clock);
  expect(users.send(who('ann'), 32 * MIB)).toBe(0);
  expect(users.send(who('ann'), 8 * MIB)).toBeCloseTo(1_000);
  expect(() => users.refuseInDebt(who('ann'))).toThrow(expect.objectContaining({ code: 'rate_limited' }));
  for (const other of [who('bob'), who('svc', 'service_role')]) users.refuseInDebt(other);
  expect(users.send(who('bob'), 8 * MIB)).toBe(0);
  expect(users.send(who('svc', 'service_role'), 999 * MIB)).toBe(0);
});

test('I6: a body counts as several requests, on credit, and the next one waits for the debt', () => {
  const users = new UserLimits(new Limiter({ each: { rate: 100 } }));
  for (let bodies = 0; bodies < 4; bodies += 1) users.spend(who('ann'), 64);
  expect(() => users.spend(who('ann'))).toThrow(expect.objectContaining({ code: 'rate_limited' }));
  users.spend(who('bob'));
});

test('I6: what is sent to one user, whenever it is: a rounding error is no debt', () => {
  let now = 0;
  const users = new UserLimits(new Limiter({ each: { rate: 1 } }), { ...systemClock, now: () => now });
  for (let user = 0; user < 100; user += 1) {
    now += 123.457;
    expect(users.send(who(`user ${user}`), 32 * MIB)).toBe(0);
  }
});

test('I6: the connections of a user in debt take turns: a small reader waits for one frame of each bulk reader', async () => {
  const world = new World({ limits: { rows: 1, bytes: MIB }, cacheBytes: 64 * MIB });
  const users = new UserLimits(new Limiter({ each: { rate: 100, places: 100 } }), world.clock);
  const debtor = await anybody();
  world.create('message:small', 0);
  world.create('message:bulk', 0);
  world.log.write('message:bulk', 40, (8 * MIB) / 100); // 10 ms of debt each
  const reader = async (channel: string, since: string) => {
    const client = await new Client(world, { principalLimits: users }).connect();
    client.say({ type: 'subscribe', channel, since });
    await settle();
    return client;
  };
  const events = (client: Client) => client.transport.sent.filter(({ text }) => text.includes('"events"')).length;
  users.send(debtor, 32 * MIB);
  const bulk = [await reader('message:bulk', 'start'), await reader('message:bulk', 'start')];
  const small = await reader('message:small', 'now');
  for (let written = 1; written <= 10; written += 1) {
    world.write('message:small', 1);
    await world.clock.turn(35);
    expect(events(small)).toBe(written);
  }
  const [a = 0, b = 0] = bulk.map(events);
  expect(a).toBeGreaterThan(5);
  expect(Math.abs(a - b)).toBeLessThanOrEqual(1);
  for (const client of [...bulk, small]) client.connection.gone();
  expect(world.clock.timers).toBe(0);
});
