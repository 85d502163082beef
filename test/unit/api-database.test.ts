import { expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Use } from '../../server/ports/database.js';
import type { Role } from '../../server/ports/principal.js';
import { apiDatabase } from '../../server/postgres/api-database.js';
import { settle } from '../support/fakes.js';

/** Four connections, of which none ever comes: what asks for one stays. */
function ask() {
  let connects = 0;
  const pool = {
    connect() {
      connects += 1;
      return new Promise(() => {});
    },
  };
  const databaseFor = apiDatabase(pool as unknown as pg.Pool, pool as unknown as pg.Pool, 4);
  const codes: string[] = [];
  const times = async (count: number, subject: string, role: Role, use: Use, gone = () => false) => {
    const principal = { subject, role, claims: '{}', expiresAt: null };
    for (let n = 0; n < count; n += 1) {
      databaseFor({ principal, requestId: 'r', use, gone })
        .transaction(async () => {})
        .catch(({ code, name }) => codes.push(code ?? name));
    }
    await settle();
  };
  return { times, codes, connects: () => connects };
}

test('I6: a user has half of the connections, and 100 wait; a service has what is there', async () => {
  const { times, codes, connects } = ask();
  await times(103, 'ann', 'authenticated', 'read');
  expect([connects(), codes]).toEqual([2, ['rate_limited']]);
  await times(2, 'bob', 'authenticated', 'read');
  await times(300, 'ann', 'service_role', 'read');
  expect([connects(), codes]).toEqual([304, ['rate_limited']]);
});

test.each<[Use, number]>([
  ['search', 2],
  ['write', 3],
  ['read', 8],
])('I6: of all users together so many at once use it for a %s: %i', async (use, most) => {
  const { times, connects } = ask();
  for (const subject of ['ann', 'bob', 'cyd', 'dan']) await times(2, subject, 'authenticated', use);
  expect(connects()).toBe(most);
});

test('I6: a client that has gone makes room in the line', async () => {
  const { times, codes, connects } = ask();
  let left = false;
  await times(102, 'ann', 'authenticated', 'read', () => left);
  left = true;
  await times(1, 'ann', 'authenticated', 'read');
  expect([connects(), codes]).toEqual([2, Array(100).fill('Unavailable')]);
});
