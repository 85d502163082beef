import { describe, expect, test } from '@jest/globals';
import { losslessJson } from '../../client/ground/lossless.js';

const LONG = '1234567890123456789';

describe('numbers of 16 and more digits', () => {
  test.each([
    ['12345', 12345, 12345],
    ['123456789012345', 123456789012345, 123456789012345],
    ['1234567890123456', '1234567890123456', 1234567890123456n],
    [`-${LONG}`, `-${LONG}`, BigInt(`-${LONG}`)],
    ['0.30000000000000004', '0.30000000000000004', '0.30000000000000004'],
    ['12345678901234567.5', '12345678901234567.5', '12345678901234567.5'],
    ['0.0000000000000000001', 1e-19, 1e-19],
    ['1e300', 1e300, 1e300],
    ['1e400', '1e400', '1e400'],
    ['-1E-400', '-1E-400', '-1E-400'],
  ])('%s', (text, string, bigint) => {
    const json = `{"a":[{"b":${text}}],"t":"${LONG}"}`;
    const expected = (value: unknown) => ({ a: [{ b: value }], t: LONG });
    expect(losslessJson('string').parse(json)).toEqual(expected(string));
    expect(losslessJson('bigint').parse(json)).toEqual(expected(bigint));
    expect(losslessJson('bigint').parse(losslessJson('bigint').stringify(expected(bigint)))).toEqual(expected(bigint));
  });

  test('the rest is as with JSON.parse', () => {
    const { parse } = losslessJson('string');
    const odd = `{"x":${LONG},"a":1,"a":2,"__proto__":{"y":"\\ud83d\\ude00\\n"},"":null}`;
    expect(parse(odd)).toEqual({ ...(JSON.parse(odd) as object), x: LONG });
    expect(Object.keys(parse(odd) as object)).toEqual(['x', 'a', '__proto__', '']);
    expect(() => parse(`{"a":${LONG}`)).toThrow(SyntaxError);
    const deep = `${'['.repeat(20_000)}${LONG}${']'.repeat(20_000)}`;
    expect(() => parse(deep)).not.toThrow();
  });
});
