import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Access } from '../../server/access/access.js';
import { Unavailable } from '../../server/ground/refusal.js';
import { hashOfSubject } from '../../server/ground/subject-hash.js';
import type { AccessQuestion, Authorizer, Principal } from '../../server/ports/principal.js';
import { FakeClock, settle } from '../support/fakes.js';

const INTERVAL = 10_000;

const principal = (subject: string, token = 1): Principal => ({
  subject,
  role: 'authenticated',
  claims: JSON.stringify({ sub: subject, jti: token }),
  expiresAt: null,
});
const ANN = principal('ann');
const BOB = principal('bob');

/** Answers when the test says so. */
class SlowAuthorizer implements Authorizer {
  readonly asked: (AccessQuestion & {
    readonly again: boolean;
    answer(allowed: boolean | null): void;
    fail(error: Error): void;
  })[] = [];

  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null> {
    return new Promise((resolve, reject) => {
      this.asked.push({ ...question, again, answer: resolve, fail: reject });
    });
  }

  async answer(allowed: boolean | null): Promise<void> {
    for (const question of this.asked.splice(0)) question.answer(allowed);
    await settle();
  }

  async fail(error: Error): Promise<void> {
    for (const question of this.asked.splice(0)) question.fail(error);
    await settle();
  }
}

let clock: FakeClock;
let authorizer: SlowAuthorizer;
let access: Access;
let lost: string[];

beforeEach(() => {
  clock = new FakeClock();
  authorizer = new SlowAuthorizer();
  access = new Access({ authorizer, clock, interval: INTERVAL });
  lost = [];
});
afterEach(() => {
  access.stop();
  expect(clock.timers).toBe(0); // I7
});

function hold(who: Principal, channel = 'execution:a') {
  const holding = access.hold(who, channel, (code) => lost.push(`${who.subject} ${channel} ${code}`));
  holding.catch(() => {}); // looked at later
  return holding;
}

async function held(who: Principal, channel?: string) {
  const holding = hold(who, channel);
  await authorizer.answer(true);
  return holding;
}

const refusal = (code: string) => expect.objectContaining({ code });

describe('asking', () => {
  test('once for all who want to know the same, and not again for a while', async () => {
    const many = [hold(ANN), hold(ANN), hold(ANN)];
    expect(authorizer.asked).toHaveLength(1);
    await authorizer.answer(true);
    await Promise.all(many);
    await hold(ANN);
    expect(authorizer.asked).toHaveLength(0);
    expect(access.size).toBe(1);
  });

  test('of another token, another user and another channel', async () => {
    for (const [who, channel] of [
      [ANN, 'execution:a'],
      [principal('ann', 2), 'execution:a'],
      [BOB, 'execution:a'],
      [ANN, 'execution:b'],
    ] as const)
      void hold(who, channel);
    expect(authorizer.asked).toHaveLength(4);
    await authorizer.answer(true);
  });

  test('I5: a refusal is remembered for a second, and until the bell rings: a right that is given is good at once', async () => {
    const first = hold(ANN);
    await authorizer.answer(false);
    await expect(first).rejects.toEqual(refusal('forbidden'));
    await expect(hold(ANN)).rejects.toEqual(refusal('forbidden'));
    expect(authorizer.asked).toHaveLength(0);
    await clock.turn(1_001);
    const later = hold(ANN);
    await authorizer.answer(false);
    await expect(later).rejects.toEqual(refusal('forbidden'));
    access.changed(hashOfSubject('ann'));
    const second = hold(ANN);
    await authorizer.answer(true);
    await second;
    expect(lost).toEqual([]); // who was never let in has lost nothing
  });

  test('who came while an answer was on its way is not refused by that one, which may be older than the right', async () => {
    const first = hold(ANN);
    const second = hold(ANN);
    await authorizer.answer(false);
    await expect(first).rejects.toEqual(refusal('forbidden'));
    await authorizer.answer(true);
    await second;
    // And it is held: it can be lost.
    access.changed(hashOfSubject('ann'));
    await authorizer.answer(false);
    expect(lost).toEqual(['ann execution:a forbidden']);
  });

  test('I5: a policy that fails admits no user', async () => {
    const first = hold(ANN);
    await authorizer.answer(null);
    await expect(first).rejects.toEqual(refusal('policy_failed'));
  });

  test('I5: no answer, no right; the next who asks is asked for', async () => {
    const first = hold(ANN);
    await authorizer.fail(new Unavailable('away'));
    await expect(first).rejects.toThrow(Unavailable);
    await (await held(ANN)).release();
  });
});

describe('losing', () => {
  test('I5: on a schedule, by its holders of that time, and once', async () => {
    await held(ANN);
    const released = await held(BOB);
    released.release();
    await clock.turn(INTERVAL);
    expect(authorizer.asked.map(({ principal: { subject } }) => subject)).toEqual(['ann']);
    await authorizer.answer(false);
    await clock.turn(INTERVAL);
    await authorizer.answer(false);
    expect(lost).toEqual(['ann execution:a forbidden']);
  });

  test('I5: at once when rights have changed; those of others are not asked again', async () => {
    await held(ANN);
    await held(BOB);
    access.changed(hashOfSubject('ann'));
    expect(authorizer.asked).toHaveLength(1);
    await authorizer.answer(false);
    expect(lost).toEqual(['ann execution:a forbidden']);
    access.changed(null);
    expect(authorizer.asked).toHaveLength(1);
    await authorizer.answer(null);
    expect(lost.at(-1)).toBe('bob execution:a policy_failed');
  });

  test('I5: an answer that was on its way when rights changed is not believed', async () => {
    const holding = hold(ANN);
    const [asked] = authorizer.asked.splice(0);
    access.changed(hashOfSubject('ann'));
    asked?.answer(true); // read before the change
    await settle();
    expect(authorizer.asked).toHaveLength(1);
    await authorizer.answer(false);
    await expect(holding).rejects.toEqual(refusal('forbidden'));
  });

  test('I5: bells without end do not put off that a right is lost', async () => {
    await held(ANN);
    access.changed(hashOfSubject('ann'));
    const [asked] = authorizer.asked.splice(0);
    access.changed(null);
    asked?.answer(false);
    await settle();
    expect(lost).toEqual(['ann execution:a forbidden']);
  });

  test('I5: what is relied on is asked apart from what is new', async () => {
    await held(ANN);
    access.changed(hashOfSubject('ann'));
    void hold(BOB);
    expect(authorizer.asked.map(({ principal: { subject }, again }) => [subject, again])).toEqual([
      ['ann', true],
      ['bob', false],
    ]);
    await authorizer.answer(true);
  });

  test('I5: a right that cannot be asked for again is not relied on for ever', async () => {
    await held(ANN);
    for (let round = 0; round < 8 && lost.length === 0; round += 1) {
      await authorizer.fail(new Unavailable('away'));
      await clock.turn(INTERVAL);
    }
    await authorizer.fail(new Unavailable('away'));
    expect(lost).toEqual(['ann execution:a unavailable']);
  });

  test('I5: what is remembered and not held is forgotten by a change', async () => {
    (await held(ANN)).release();
    access.changed(hashOfSubject('ann'));
    expect(authorizer.asked).toHaveLength(0);
    void hold(ANN);
    expect(authorizer.asked).toHaveLength(1);
    await authorizer.answer(false);
  });

  test('I5: while the database is away no user loses a right or gets one; it is asked until it answers', async () => {
    await held(ANN);
    access.changed(hashOfSubject('ann'));
    await authorizer.fail(new Unavailable('away'));
    const other = hold(ANN);
    await authorizer.fail(new Unavailable('away'));
    await expect(other).rejects.toThrow(Unavailable);
    expect(lost).toEqual([]);
    await clock.turn(250);
    await authorizer.answer(false);
    expect(lost).toEqual(['ann execution:a forbidden']);
  });

  test('not after it was given back, and giving back twice takes nothing from others', async () => {
    const first = await held(ANN);
    const second = await held(ANN);
    first.release();
    first.release();
    access.changed(hashOfSubject('ann'));
    second.release();
    await authorizer.answer(false);
    expect(lost).toEqual([]);
  });
});

test('I6: what is not held is forgotten with time, and there is a bound to it', async () => {
  for (let index = 0; index < 60_000; index += 1) {
    const holding = hold(principal(`user ${index}`));
    authorizer.asked.splice(0)[0]?.answer(true);
    (await holding).release();
  }
  expect(access.size).toBe(50_000);
  await clock.turn(2 * INTERVAL + 1);
  expect(access.size).toBe(0);
});
