import { describe, expect, test } from '@jest/globals';
import {
  A,
  client,
  clock,
  environment,
  follow,
  gateway,
  given,
  live,
  poller,
  states,
  stats,
} from '../support/polling-world.js';

describe('I7: after close nothing is left', () => {
  async function expectNothingLeft(): Promise<void> {
    client.close();
    const before = [stats.length, gateway.requests.length, states.length];
    expect([states.at(-1), clock.timers, environment.watched]).toEqual(['closed', 0, false]);
    poller.refresh();
    poller.pause();
    poller.resume();
    await clock.turn(600_000);
    client.close();
    expect([stats.length, gateway.requests.length, states.length]).toEqual(before);
    expect(clock.timers).toBe(0);
  }

  test.each<[string, () => void | Promise<void>]>([
    ['before it was started', () => {}],
    ['while the token is asked for', () => void follow(A)],
    ['between requests', () => live(A)],
    [
      'while a request is out',
      async () => {
        await live(A);
        gateway.health = 'hangs';
        await clock.turn(2_000);
      },
    ],
    [
      'while it waits after a failure',
      async () => {
        await live(A);
        gateway.health = 'fails';
        await clock.turn(2_000);
      },
    ],
    [
      'while it is paused',
      async () => {
        await live(A);
        poller.pause();
      },
    ],
    [
      'while there is no network',
      async () => {
        await live(A);
        given.online = false;
        environment.hint();
      },
    ],
  ])('closed %s', async (_, prepare) => {
    await prepare();
    await expectNothingLeft();
    if (gateway.health === 'hangs') expect(gateway.aborted).toHaveLength(1);
  });

  test.each(['connecting', 'connected', 'waiting'] as const)('closed by the listener that hears %s', async (state) => {
    let told = 0;
    given.onState = (entered) => {
      if (entered !== state) return;
      client.close();
      told = stats.length;
    };
    follow(A);
    await clock.turn(0);
    gateway.health = 'fails';
    await clock.turn(2_000);
    expect(stats).toHaveLength(told);
    await expectNothingLeft();
  });

  test('closed by the listener that gets an event', async () => {
    gateway.write(A, 'x');
    client.subscribe(A, { since: 'start', onEvent: () => client.close() });
    await clock.turn(0);
    await expectNothingLeft();
  });
});
