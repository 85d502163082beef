import { expect, test } from '@jest/globals';
import { Breaker } from '../../client/polling/breaker.js';

function failing(times: number): Breaker {
  const breaker = new Breaker(3);
  for (let failure = 0; failure < times; failure += 1) {
    breaker.begin();
    breaker.fail();
  }
  return breaker;
}

test('it opens at the last of so many failures in a row, not before', () => {
  expect([0, 1, 2, 3].map((times) => failing(times).state)).toEqual(['closed', 'closed', 'closed', 'open']);
});

test('an answer in between begins the count anew', () => {
  const breaker = failing(2);
  breaker.succeed();
  breaker.fail();
  breaker.fail();
  expect(breaker.state).toBe('closed');
  breaker.fail();
  expect(breaker.state).toBe('open');
});

test('a request that begins while it is open is the trial, and one failure opens it again', () => {
  const breaker = failing(3);
  breaker.begin();
  expect(breaker.state).toBe('half-open');
  breaker.fail();
  expect(breaker.state).toBe('open');
});

test('a trial that is answered closes it, and the count begins at nothing', () => {
  const breaker = failing(3);
  breaker.begin();
  breaker.succeed();
  expect(breaker.state).toBe('closed');
  breaker.fail();
  breaker.fail();
  expect(breaker.state).toBe('closed');
});

test('a trial without an outcome leaves it half-open: the next request is the trial', () => {
  const breaker = failing(3);
  breaker.begin();
  breaker.begin();
  expect(breaker.state).toBe('half-open');
  breaker.fail();
  expect(breaker.state).toBe('open');
});
