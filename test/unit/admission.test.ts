import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Admission, type AdmissionLimits } from '../../server/limits/admission.js';
import { Bucket } from '../../server/limits/bucket.js';
import { Quota } from '../../server/limits/quota.js';
import { Rates } from '../../server/limits/rates.js';
import { addressOf } from '../../server/network/address.js';
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

describe('admission', () => {
  const LIMITS: AdmissionLimits = { connections: 100, addressConnections: 10, rate: 20, addressRate: 4 };
  const make = (limits: Partial<AdmissionLimits> = {}) => {
    const time = { now: 0 };
    return {
      time,
      admission: new Admission(
        { ...LIMITS, ...limits },
        () => time.now,
        () => 0.5,
      ),
    };
  };

  test('an address that asks too often is turned away, and takes nothing from the others', () => {
    const { admission } = make();
    const answers = Array.from({ length: 1_000 }, () => admission.enter('a'));
    expect(answers.filter((answer) => answer === null)).toHaveLength(8);
    expect(answers[8]).toEqual({ code: 'rate_limited', retryAfter: 250, curtly: false });
    for (let other = 0; other < 30; other += 1) expect(admission.enter(`b${other}`)).toBeNull();
  });

  test('beyond a minute of waiting they are turned away curtly', () => {
    const { admission } = make();
    const answers = Array.from({ length: 1_000 }, () => admission.enter('a'));
    expect(answers.findIndex((answer) => answer?.curtly)).toBe(8 + 4 * 60 - 1);
    expect(answers.at(-1)).toEqual({ code: 'rate_limited', retryAfter: 60_000, curtly: true });
  });

  test('all addresses together are held to the rate of the gateway', () => {
    const { admission, time } = make();
    const enter = () => Array.from({ length: 200 }, (_, index) => admission.enter(`${time.now} ${index}`));
    expect(enter().filter((answer) => answer === null)).toHaveLength(40);
    time.now = 1_000;
    expect(enter().filter((answer) => answer === null)).toHaveLength(20);
  });

  test('I6: connections at once are bounded, overall and by address, and a place that is left is free', () => {
    const { admission, time } = make({ connections: 15, rate: 1_000, addressRate: 1_000 });
    for (let index = 0; index < 10; index += 1) expect(admission.enter('a')).toBeNull();
    expect(admission.enter('a')).toEqual({ code: 'too_many_connections', retryAfter: 30_000, curtly: false });
    for (let index = 0; index < 5; index += 1) expect(admission.enter('b')).toBeNull();
    expect(admission.enter('c')).toMatchObject({ code: 'too_many_connections' });
    admission.leave('a');
    time.now += 1_000;
    expect(admission.enter('c')).toBeNull();
    expect([admission.connections, admission.addresses]).toEqual([15, 3]);
    for (let index = 0; index < 9; index += 1) admission.leave('a');
    expect(admission.addresses).toBe(2);
  });

  test('I6: the table of addresses is bounded, and forgets the one that was quiet longest', () => {
    const rates = new Rates(1);
    const use = (address: string) => [0, 0, 0].map(() => rates.take(address, 0));
    expect(use('busy')).toEqual([0, 0, 1_000]);
    expect(use('quiet')).toEqual([0, 0, 1_000]);
    for (let index = 0; index < 50_000; index += 1) {
      rates.take(`attacker ${index}`, 0);
      if (index % 1_000 === 0) expect(rates.take('busy', 0)).toBeGreaterThan(0);
    }
    expect(rates.size).toBe(10_000);
    expect(rates.take('quiet', 0)).toBe(0);
  });
});

describe('quota', () => {
  const principal = (subject: string, role: Principal['role'] = 'authenticated'): Principal => ({
    subject,
    role,
    claims: '{}',
    expiresAt: null,
  });
  const make = (connections: number, rate: number) => {
    const time = { now: 0 };
    return {
      time,
      quota: new Quota(
        { connections, rate },
        () => time.now,
        () => 0.5,
      ),
    };
  };

  test('I6: connections of one user are bounded; a place that is left is free; nothing is kept of who has left', () => {
    const { quota } = make(2, 1_000);
    const leave = [quota.enter(principal('ann')), quota.enter(principal('ann'))];
    expect(() => quota.enter(principal('ann'))).toThrow(
      expect.objectContaining({ code: 'too_many_connections', retryAfter: 30_000 }),
    );
    const bob = quota.enter(principal('bob'));
    leave[0]?.();
    leave.push(quota.enter(principal('ann')));
    expect(quota.users).toBe(2);
    for (const end of [...leave.slice(1), bob]) end();
    expect(quota.users).toBe(0);
  });

  test('requests and connections of one user are held to one rate; who is refused holds no place', () => {
    const { quota, time } = make(100, 10);
    const limited = expect.objectContaining({ code: 'rate_limited', retryAfter: 100 });
    for (let index = 0; index < 10; index += 1) quota.spend(principal('ann'));
    const leave = Array.from({ length: 10 }, () => quota.enter(principal('ann')));
    expect(() => quota.enter(principal('ann'))).toThrow(limited);
    quota.spend(principal('bob'));
    for (const end of leave) end();
    expect(quota.users).toBe(0);
    time.now = 200; // the turn after the one that was refused
    quota.spend(principal('ann'));
  });

  test.each(['service_role', 'anon'] as const)('%s is held by its address alone', (role) => {
    const { quota } = make(1, 1);
    for (let index = 0; index < 10; index += 1) quota.enter(principal('x', role));
    expect(quota.users).toBe(0);
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
    expect(addressOf(from(peer, forwarded), proxies)).toBe(expected);
  });
});
