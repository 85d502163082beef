import { expect, test } from '@jest/globals';
import { Limiter } from '../../server/limits/limiter.js';
import { UserLimits } from '../../server/limits/users.js';

const MIB = 1024 * 1024;
const who = (subject: string, role: 'authenticated' | 'service_role' = 'authenticated') => ({
  subject,
  role,
  claims: '{}',
  expiresAt: null,
});

test('I6: what is sent to one user is bounded over all its connections; others and services do not wait', () => {
  const users = new UserLimits(new Limiter({ each: { rate: 1 } }));
  expect(users.send(who('ann'), 32 * MIB)).toBe(0);
  const wait = users.send(who('ann'), 8 * MIB);
  expect(wait).toBeGreaterThan(900);
  expect(wait).toBeLessThanOrEqual(1_001);
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
