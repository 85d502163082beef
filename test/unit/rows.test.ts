import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { checkRows } from '../../server/postgres/rows.js';

const row = z.object({ seq: z.number() });

test('the rows of a statement are checked until a reply has had some, those of another one anew', () => {
  const statement = { name: 'one', text: 'SELECT' };
  expect(checkRows(statement, [], row)).toEqual([]);
  expect(() => checkRows(statement, [{ seq: '1' }], row)).toThrow(z.ZodError);
  expect(checkRows(statement, [{ seq: 1 }, { seq: 2 }], row)).toEqual([{ seq: 1 }, { seq: 2 }]);
  const rows = [{ seq: 3 }];
  expect(checkRows(statement, rows, row)).toBe(rows);
  expect(() => checkRows({ ...statement }, [{}], row)).toThrow(z.ZodError);
});
