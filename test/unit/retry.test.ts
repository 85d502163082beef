import { expect, test } from '@jest/globals';
import { isTransient, type Retry, retrying } from '../../server/executions/rules/retrying.js';
import { Refusal, Unavailable } from '../../server/ground/refusal.js';

const coded = (code: string) => Object.assign(new Error(code), { code });
const TRANSIENT = [
  '08006',
  '25006',
  '40001',
  '40P01',
  '53300',
  '57P01',
  '57014',
  '55P03',
  'ECONNRESET',
  'ECONNREFUSED',
  'EAI_AGAIN',
];
const PERMANENT = ['23505', '42501', '22P02', '57000', '40002', 'ENOENT', 'EACCES'];
const FAST = { retries: 3, base: 1, cap: 2 };

test('what the network, the connection or a timeout did may pass; all else stays', () => {
  for (const code of TRANSIENT) expect([code, isTransient(coded(code))]).toEqual([code, true]);
  for (const code of PERMANENT) expect([code, isTransient(coded(code))]).toEqual([code, false]);
  expect(isTransient(new Unavailable('away'))).toBe(true);
  expect(isTransient(new DOMException('slow', 'TimeoutError'))).toBe(true);
  expect(isTransient(new TypeError('fetch failed', { cause: coded('ECONNREFUSED') }))).toBe(true);
  expect(isTransient(new Error('Connection terminated unexpectedly'))).toBe(true);
  expect(isTransient(new DOMException('enough', 'AbortError'))).toBe(false);
  expect(isTransient(new Refusal('state_conflict'))).toBe(false);
  expect(isTransient(new TypeError('x is not a function'))).toBe(false);
  expect(isTransient('a text')).toBe(false);
  const loop = new Error('loop');
  loop.cause = loop;
  expect(isTransient(loop)).toBe(false);
});

test('transient errors are retried with full jitter under a limit that doubles up to the cap', async () => {
  const seen: Retry[] = [];
  const options = { retries: 5, base: 1, cap: 3, onRetry: (retry: Retry) => seen.push(retry) };
  await expect(retrying(() => Promise.reject(coded('ECONNRESET')), { ...options, random: () => 1 })).rejects.toThrow(
    'ECONNRESET',
  );
  expect(seen.map(({ attempt, delay }) => [attempt, delay])).toEqual([
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 3],
    [5, 3],
  ]);
  seen.length = 0;
  const fails = 2;
  const work = (attempt: number) => {
    if (attempt <= fails) throw coded('40001');
    return attempt;
  };
  expect(await retrying(work, { ...options, random: () => 0 })).toBe(3);
  expect(seen.map(({ delay }) => delay)).toEqual([0, 0]);
});

test('permanent errors come through at once and unchanged, whatever was thrown; the caller may think otherwise', async () => {
  const type = new TypeError('x is not a function');
  for (const thrown of [type, 'a text', undefined, new Refusal('forbidden')]) {
    let attempts = 0;
    const work = () => {
      attempts += 1;
      throw thrown;
    };
    const outcome = await retrying(work, FAST).then(
      () => 'resolved',
      (error: unknown) => error,
    );
    expect([outcome === thrown, attempts]).toEqual([true, 1]);
  }
  let attempts = 0;
  const isMine = (error: unknown) => error === type || isTransient(error);
  const work = () => {
    attempts += 1;
    throw type;
  };
  await expect(retrying(work, { ...FAST, isTransient: isMine })).rejects.toBe(type);
  expect(attempts).toBe(4);
});

test('a signal ends the waiting with its reason, and does not take back a result', async () => {
  const stop = new AbortController();
  const waiting = retrying(() => Promise.reject(coded('ECONNRESET')), {
    retries: 1,
    base: 60_000,
    cap: 60_000,
    random: () => 1,
    signal: stop.signal,
    onRetry: () => queueMicrotask(() => stop.abort(new Error('enough'))),
  });
  await expect(waiting).rejects.toThrow('enough');
  await expect(retrying(() => 1, { signal: stop.signal })).rejects.toThrow('enough');
  const later = new AbortController();
  const work = async () => {
    later.abort();
    return 'done';
  };
  expect(await retrying(work, { signal: later.signal })).toBe('done');
});
