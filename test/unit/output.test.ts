import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { complain, onOneLine, print, table } from '../../server/cli/output.js';

let printed: string;
const keep = (text: unknown) => {
  printed += String(text);
  return true;
};
beforeEach(() => {
  printed = '';
  jest.spyOn(process.stdout, 'write').mockImplementation(keep as never);
  jest.spyOn(process.stderr, 'write').mockImplementation(keep as never);
});
afterEach(() => void jest.restoreAllMocks());

const EVIL = 'fine\u001b]0;pwned\u0007\u001b[2J\r#99 forged\nline\u007f\u009b31m';
const SEEN = 'fine\\u001b]0;pwned\\u0007\\u001b[2J\\u000d#99 forged';

test('control characters do not reach the terminal, whatever prints them', () => {
  print(EVIL);
  complain(EVIL);
  expect(printed).toBe(`${SEEN}\nline\\u007f\\u009b31m\n`.repeat(2));
});

test('a text of someone else stays on its line', () => {
  expect(onOneLine(EVIL)).toBe(`${SEEN}\\u000aline\\u007f\\u009b31m`);
  expect(table([['A'], ['x\ny']])).toEqual(['A', 'x\\u000ay']);
});
