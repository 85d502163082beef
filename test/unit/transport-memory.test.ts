import { expect, test } from '@jest/globals';
import { transportMemory } from '../../client/session/transport-memory.js';
import { FakeClock } from '../support/fakes.js';

const HOUR = 3_600_000;

class FakeStorage extends Map<string, string> {
  getItem(key: string): string | null {
    return this.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.set(key, value);
  }
}

test('what is stored is read by the next page, for an hour, and for this gateway only', async () => {
  const [clock, storage] = [new FakeClock(), new FakeStorage()];
  const at = (url: string) => transportMemory(url, clock, () => storage);
  expect(at('http://one').read()).toBeNull();
  at('http://one').write('sse');
  expect([at('http://one').read(), at('http://two').read(), storage.size]).toEqual(['sse', null, 1]);
  await clock.turn(HOUR - 1);
  expect(at('http://one').read()).toBe('sse');
  await clock.turn(1);
  expect(at('http://one').read()).toBeNull();
});

test('without a storage, or with one that fails, the program remembers by itself', () => {
  const clock = new FakeClock();
  const forbidden = () => {
    throw new DOMException('no', 'SecurityError');
  };
  const full = Object.assign(new FakeStorage(), { setItem: forbidden });
  for (const [url, storage] of [
    ['http://none', () => undefined],
    ['http://forbidden', forbidden],
    ['http://full', () => full],
  ] as const) {
    expect(transportMemory(url, clock, storage).read()).toBeNull();
    transportMemory(url, clock, storage).write('poll');
    expect(transportMemory(url, clock, storage).read()).toBe('poll');
  }
});

test('whatever else was stored there is nothing', () => {
  const storage = new FakeStorage([['rowcast:transport:http://odd', 'nonsense']]);
  expect(transportMemory('http://odd', new FakeClock(), () => storage).read()).toBeNull();
});
