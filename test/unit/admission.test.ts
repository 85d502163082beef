import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Bucket } from '../../server/limits/bucket.js';
import { Limiter, type LimiterOptions } from '../../server/limits/limiter.js';
import { UserLimits } from '../../server/limits/users.js';
import { clientAddress } from '../../server/network/address.js';
import type { Principal } from '../../server/ports/principal.js';
import { seed } from '../property/seed.js';

const parameters = { seed: seed('admission') };

describe('bucket', () => {
  test('in any stretch of time no more is taken than the burst and what the rate gives', () => {
    const rates = fc.record({ perSecond: fc.integer({ min: 1, max: 1_000 }), burst: fc.integer({ min: 1, max: 100 }) });
    const pauses = fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 200, size: 'max' });
    fc.assert(
      fc.property(rates, pauses, (rate, pauses) => {
        const bucket = new Bucket(rate);
        const taken: number[] = [];
        let now = 0;
        for (const pause of pauses) {
          now += pause;
          if (bucket.take(now) === 0) taken.push(now);
        }
        let excess = 0;
        for (const [first, from] of taken.entries()) {
          for (const [last, to] of taken.entries()) {
            const allowed = rate.burst + ((to - from) / 1000) * rate.perSecond;
            if (last >= first) excess = Math.max(excess, last - first + 1 - allowed);
          }
        }
        expect(excess).toBeLessThan(1e-3);
        // And no less: after a rest the whole burst is there.
        now += (1000 * rate.burst) / rate.perSecond + 1;
        for (let token = 0; token < rate.burst; token += 1) expect(bucket.take(now)).toBe(0);
        expect(bucket.take(now)).toBeGreaterThan(0);
      }),
      parameters,
    );
  });

  test('each of those turned away hears a turn of its own, and finds a token then', () => {
    const bucket = new Bucket({ perSecond: 10, burst: 2 });
    const waits = Array.from({ length: 12 }, () => bucket.take(0));
    expect(waits).toEqual([0, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
    for (const turn of waits.slice(2)) expect(bucket.take(turn)).toBe(0);
  });

  test('the queue of turns ends at the longest wait, and begins anew when it has passed', () => {
    const bucket = new Bucket({ perSecond: 10, burst: 1 }, 500);
    const waits = Array.from({ length: 9 }, () => bucket.take(0));
    expect(waits).toEqual([0, 100, 200, 300, 400, 500, 500, 500, 500]);
    expect(bucket.take(1_000)).toBe(0);
    expect(bucket.take(1_000)).toBe(100);
  });

  test('a debt is paid at the rate, also one that is larger than the burst', () => {
    const bucket = new Bucket({ perSecond: 10, burst: 5 });
    expect(bucket.spend(0, 5)).toBe(0);
    expect(bucket.spend(0, 20)).toBe(2_000);
    expect(bucket.spend(500, 0)).toBe(1_500);
    expect(bucket.spend(2_000, 0)).toBe(0);
    expect(bucket.spend(2_000, 1)).toBe(100);
  });
});

/** With a clock that stands still. */
function limiterOf(bounds: Pick<LimiterOptions, 'each' | 'all'>) {
  const time = { now: 0 };
  return { time, limiter: new Limiter({ ...bounds, now: () => time.now, random: () => 0.5 }) };
}

describe('limiter', () => {
  const make = ({ rate = 20, places = 100, rateOfOne = 4 } = {}) => {
    const { time, limiter } = limiterOf({ each: { rate: rateOfOne, places: 10 }, all: { rate, places } });
    return { time, addresses: limiter };
  };

  test('an address that asks too often is turned away, and takes nothing from the others', () => {
    const { addresses } = make();
    const answers = Array.from({ length: 1_000 }, () => addresses.enter('a'));
    expect(answers.filter((answer) => answer === null)).toHaveLength(8);
    expect(answers[8]).toEqual({ code: 'rate_limited', retryAfter: 250 });
    for (let other = 0; other < 30; other += 1) expect(addresses.enter(`b${other}`)).toBeNull();
  });

  test('beyond a minute of waiting no turn is reserved', () => {
    const { addresses } = make();
    const answers = Array.from({ length: 1_000 }, () => addresses.enter('a'));
    expect(answers.findIndex((answer) => answer?.retryAfter === 60_000)).toBe(8 + 4 * 60 - 1);
    expect(answers.at(-1)).toEqual({ code: 'rate_limited', retryAfter: 60_000 });
  });

  test('all addresses together are held to the rate of the gateway', () => {
    const { addresses, time } = make();
    const enter = () => Array.from({ length: 200 }, (_, index) => addresses.enter(`${time.now} ${index}`));
    expect(enter().filter((answer) => answer === null)).toHaveLength(40);
    time.now = 1_000;
    expect(enter().filter((answer) => answer === null)).toHaveLength(20);
  });

  test('I6: connections at once are bounded, overall and by address, and a place that is left is free', () => {
    const { addresses, time } = make({ places: 15, rate: 1_000, rateOfOne: 1_000 });
    for (let index = 0; index < 10; index += 1) expect(addresses.enter('a')).toBeNull();
    expect(addresses.enter('a')).toEqual({ code: 'too_many_connections', retryAfter: 30_000 });
    for (let index = 0; index < 5; index += 1) expect(addresses.enter('b')).toBeNull();
    expect(addresses.enter('c')).toMatchObject({ code: 'too_many_connections' });
    addresses.leave('a');
    time.now += 1_000;
    expect(addresses.enter('c')).toBeNull();
    expect([addresses.present, addresses.names]).toEqual([15, 3]);
    for (let index = 0; index < 9; index += 1) addresses.leave('a');
    expect(addresses.names).toBe(2);
  });

  test('I6: the table of addresses is bounded, and forgets the one that was quiet longest', () => {
    const { limiter } = limiterOf({ each: { rate: 1 } });
    const take = (address: string) => limiter.spend(address)?.retryAfter ?? 0;
    const use = (address: string) => [0, 0, 0].map(() => take(address));
    expect(use('busy')).toEqual([0, 0, 1_000]);
    expect(use('quiet')).toEqual([0, 0, 1_000]);
    for (let index = 0; index < 50_000; index += 1) {
      take(`attacker ${index}`);
      if (index % 1_000 === 0) expect(take('busy')).toBeGreaterThan(0);
    }
    expect(limiter.remembered).toBe(10_000);
    expect(take('quiet')).toBe(0);
  });
});

describe('limits of a user', () => {
  const principal = (subject: string, role: Principal['role'] = 'authenticated'): Principal => ({
    subject,
    role,
    claims: '{}',
    expiresAt: null,
  });
  const make = (places: number, rate: number) => {
    const { time, limiter } = limiterOf({ each: { places, rate } });
    return { time, limiter, users: new UserLimits(limiter) };
  };

  test('I6: connections of one user are bounded; a place that is left is free; nothing is kept of who has left', () => {
    const { users, limiter } = make(2, 1_000);
    const leave = [users.enter(principal('ann')), users.enter(principal('ann'))];
    expect(() => users.enter(principal('ann'))).toThrow(
      expect.objectContaining({ code: 'too_many_connections', retryAfter: 30_000 }),
    );
    const bob = users.enter(principal('bob'));
    leave[0]?.();
    leave.push(users.enter(principal('ann')));
    expect(limiter.names).toBe(2);
    for (const end of [...leave.slice(1), bob]) end();
    expect(limiter.names).toBe(0);
  });

  test('requests and connections of one user are held to one rate; who is refused holds no place', () => {
    const { users, limiter, time } = make(100, 10);
    const limited = expect.objectContaining({ code: 'rate_limited', retryAfter: 100 });
    for (let index = 0; index < 10; index += 1) users.spend(principal('ann'));
    const leave = Array.from({ length: 10 }, () => users.enter(principal('ann')));
    expect(() => users.enter(principal('ann'))).toThrow(limited);
    users.spend(principal('bob'));
    for (const end of leave) end();
    expect(limiter.names).toBe(0);
    time.now = 200; // the turn after the one that was refused
    users.spend(principal('ann'));
  });

  test.each(['service_role', 'anon'] as const)('%s is held by its address alone', (role) => {
    const { users, limiter } = make(1, 1);
    for (let index = 0; index < 10; index += 1) users.enter(principal('x', role));
    expect(limiter.names).toBe(0);
  });
});

describe('address', () => {
  const from = (peer: string, forwarded?: string) => ({
    socket: { remoteAddress: peer },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  });

  test.each([
    ['10.0.0.1', undefined, 0, '10.0.0.1'],
    ['::ffff:10.0.0.1', undefined, 0, '10.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', undefined, 0, '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', undefined, 0, '2001:db8:1:2::/64'],
    ['fe80::1%eth0', undefined, 0, 'fe80::/64'],
    ['', undefined, 0, ''],
    // What nobody trusted has written counts for nothing.
    ['10.0.0.1', '1.2.3.4', 0, '10.0.0.1'],
    ['10.0.0.1', '6.6.6.6, 1.2.3.4', 1, '1.2.3.4'],
    ['10.0.0.1', '6.6.6.6, 1.2.3.4, 10.0.0.2', 2, '1.2.3.4'],
    ['10.0.0.1', '1.2.3.4', 3, '1.2.3.4'],
    ['10.0.0.1', undefined, 1, '10.0.0.1'],
    ['10.0.0.1', '2001:db8::1', 1, '2001:db8::/64'],
    // Some proxies write the port as well.
    ['10.0.0.1', '1.2.3.4:5678', 1, '1.2.3.4'],
    ['10.0.0.1', '[2001:db8::1]:5678', 1, '2001:db8::/64'],
    // Nonsense is no way to have an address of one's own each time.
    ['10.0.0.1', 'nonsense 17', 1, '10.0.0.1'],
    ['10.0.0.1', 'unknown', 1, '10.0.0.1'],
  ])('%s, forwarded %s, behind %i proxies: %s', (peer, forwarded, proxies, expected) => {
    expect(clientAddress(from(peer, forwarded), proxies)).toBe(expected);
  });
});
