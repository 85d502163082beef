import { describe, expect, test } from '@jest/globals';
import { settle } from '../support/fakes.js';
import {
  clock,
  connect,
  errorsSeen,
  given,
  greet,
  HEARTBEAT,
  makeSession,
  receive,
  rung,
} from '../support/session-world.js';

describe('backoff', () => {
  /** How long the session waited after each of `count` links that were lost after `lived` milliseconds. */
  async function waits(count: number, lived: number): Promise<number[]> {
    const found: number[] = [];
    const session = await connect();
    for (let index = 0; index < count; index += 1) {
      // Pongs keep the link alive for as long as it shall live.
      for (let left = lived; left > 0; left -= HEARTBEAT) {
        await clock.turn(Math.min(left, HEARTBEAT));
        receive({ type: 'pong', id: 0 });
      }
      const links = rung.links.length;
      rung.last.events.onClose(1006, '');
      let waited = 0;
      for (; rung.links.length === links; waited += 1) await clock.turn(1);
      found.push(waited);
      await greet();
    }
    session.close();
    return found;
  }

  test('each loss may wait twice as long as the one before, up to the cap, and at the cap still at random', async () => {
    given.random = () => 0.99;
    expect(await waits(7, 0)).toEqual([99, 198, 396, 792, 1584, 1584, 1584]);
    let draws = 0;
    given.random = () => [0.99, 0.99, 0.99, 0.99, 0.99, 0.25, 0][draws++] ?? 0;
    expect(await waits(7, 0)).toEqual([99, 198, 396, 792, 1584, 400, 1]);
  });

  test('a link that lived for five seconds makes the next loss the first one, a shorter one does not', async () => {
    expect(await waits(3, 4_999)).toEqual([50, 100, 200]);
    expect(await waits(3, 5_000)).toEqual([50, 50, 50]);
  });

  test('the delays grow while no link comes about, also after one that lived long', async () => {
    const session = await connect();
    for (let beat = 0; beat < 10; beat += 1) {
      await clock.turn(HEARTBEAT);
      receive({ type: 'pong', id: 0 });
    }
    for (const delay of [50, 100, 200, 400]) {
      rung.last.events.onClose(1006, '');
      await clock.turn(delay - 1);
      expect(session.state).toBe('waiting');
      await clock.turn(1);
      expect(session.state).toBe('connecting');
    }
  });

  test('a token that cannot be had is asked for again, and nothing is dialled without it', async () => {
    given.token = () => {
      given.tokens += 1;
      return given.tokens < 4 ? Promise.reject(new Error('not yet')) : Promise.resolve('late');
    };
    const session = makeSession();
    session.start();
    await settle();
    expect(session.state).toBe('waiting');
    expect(errorsSeen.at(-1)).toMatchObject({ code: 'unavailable', retries: true });
    await clock.turn(50 + 100 + 200);
    expect(rung.links).toHaveLength(1);
    await greet();
    expect(rung.last.sent[0]).toMatchObject({ token: 'late' });
    expect(session.state).toBe('connected');
  });

  test('start opens the first link only: while the session waits it does not cut the delay short', async () => {
    const session = await connect();
    rung.last.events.onClose(1006, '');
    session.start();
    await settle();
    expect(session.state).toBe('waiting');
    expect(rung.links).toHaveLength(1);
  });
});
