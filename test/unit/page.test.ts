import { expect, test } from '@jest/globals';
import { ago } from '../../client/react/ui/format.js';

Object.assign(globalThis, { window: new EventTarget(), sessionStorage: { getItem: () => null } });
const { askJson } = await import('../../client/dashboard/access.js');

test.each([
  [600, '1 s ago'],
  [0, '0 s ago'],
  [-999, '0 s ago'],
  [-1_000, 'in 1 s'],
])('%i ms after it: %s', (past, text) => {
  expect(ago(past)).toBe(text);
});

test('a response that breaks off is an error: nothing is drawn of half an answer', async () => {
  const answers = (body: string, status: number) => {
    globalThis.fetch = async () => new Response(body, { status });
    return askJson('/api/agents');
  };
  await expect(answers('{"workers":[', 200)).rejects.toMatchObject({ code: 'unavailable' });
  await expect(answers('<html>', 502)).rejects.toMatchObject({ code: 'unavailable' });
  await expect(answers('{"code":"forbidden","detail":"no"}', 403)).rejects.toMatchObject({ code: 'forbidden' });
  expect(await answers('{"workers":[]}', 200)).toEqual({ workers: [] });
});
