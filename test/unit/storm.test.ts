import { afterEach, expect, test } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import { errors } from '../../client/protocol/index.js';
import { Session } from '../../client/session/session.js';
import { Limiter } from '../../server/limits/limiter.js';
import { seed } from '../property/seed.js';
import { FakeClock, type FakeLink, FakeRung, settle } from '../support/fakes.js';
import { makeRandom } from '../support/random.js';

const SESSIONS = 1_000;
const RATE = 100;
/** How long the gateway is away, in milliseconds. */
const AWAY = 3_000;
/** The most that the sessions add to the delay that the gateway asks for, in milliseconds. */
const BASE = 250;

const random = makeRandom(seed('storm'));

interface Visit {
  readonly session: number;
  readonly at: number;
}

/** A gateway that may be away, with the real limiter, and the real sessions before it. */
class Storm {
  readonly clock = new FakeClock();
  readonly sessions: Session[] = [];
  readonly visits: Visit[] = [];
  readonly admitted: Visit[] = [];
  /** The moment before which each session was told not to come. */
  readonly told = new Map<number, number>();
  readonly early: Visit[] = [];
  readonly #addressOf: (session: number) => string;
  readonly #links = new Set<FakeLink>();
  #addresses: Limiter | null = null;

  constructor(addressOf: (session: number) => string) {
    this.#addressOf = addressOf;
    for (let session = 0; session < SESSIONS; session += 1) {
      const rung = new FakeRung();
      const { next } = random.branch(`session ${session}`);
      const open = rung.open.bind(rung);
      rung.open = (events) => {
        const link = open(events);
        queueMicrotask(() => this.#visited(session, rung.last));
        return link;
      };
      this.sessions.push(
        new Session({
          rungs: [rung],
          token: async () => undefined,
          clock: this.clock,
          random: next,
          backoff: new Backoff({ base: BASE, cap: 30_000 }, next),
          environment: { watch: () => () => {} },
          events: { onState: () => {}, onFrame: () => {} },
        }),
      );
    }
  }

  get connected(): number {
    return this.sessions.filter(({ state }) => state === 'connected').length;
  }

  up(rate: number): void {
    const places = 2 * SESSIONS;
    this.#addresses = new Limiter({
      each: { places, rate: 2 * rate },
      all: { places, rate },
      now: () => this.clock.now(),
      random: random.branch('gateway').next,
    });
  }

  down(): void {
    this.#addresses = null;
    for (const link of this.#links) link.events.onClose(1006, '');
    this.#links.clear();
  }

  close(): void {
    for (const session of this.sessions) session.close();
  }

  #visited(session: number, link: FakeLink): void {
    const visit = { session, at: this.clock.now() };
    this.visits.push(visit);
    if (visit.at < (this.told.get(session) ?? 0)) this.early.push(visit);
    if (this.#addresses === null) return link.events.onClose(1006, '');
    link.events.onOpen();
    const rejection = this.#addresses.enter(this.#addressOf(session));
    if (rejection === null) {
      this.admitted.push(visit);
      this.#links.add(link);
      const limits = { maxFrameBytes: 1, maxSubscriptions: 1 };
      const id = link.sent[0]?.id;
      link.receive(JSON.stringify({ type: 'connected', id, session: 's', heartbeat: 600_000, limits }));
      return;
    }
    const { code, retryAfter } = rejection;
    this.told.set(session, visit.at + retryAfter);
    link.receive(JSON.stringify({ type: 'error', code, message: '', retryAfter }));
    link.events.onClose(errors[code].close, '');
  }
}

/** How many fall into each second. */
function perSecond(visits: readonly Visit[], from: number): number[] {
  const counts: number[] = [];
  for (const { at } of visits) {
    const second = Math.floor((at - from) / 1_000);
    if (second >= 0) counts[second] = (counts[second] ?? 0) + 1;
  }
  return Array.from(counts, (count) => count ?? 0);
}

let storm: Storm;
afterEach(() => storm.close());

async function crash(addressOf: (session: number) => string): Promise<number> {
  storm = new Storm(addressOf);
  storm.up(100_000);
  for (const session of storm.sessions) session.start();
  await settle();
  expect(storm.connected).toBe(SESSIONS);
  await storm.clock.turn(10_000);
  storm.down();
  await storm.clock.turn(AWAY);
  storm.visits.length = 0;
  storm.admitted.length = 0;
  storm.up(RATE);
  return storm.clock.now();
}

/**
 * Those turned away are told turns, one token apart, and come up to `BASE` late: no second has more of them than the
 * tokens of 1.25 seconds. Who shares an address may be turned away by the rate of the address as well, which is twice
 * that of the gateway, and has turns of its own. Beside them come, in the fourth second, those that waited longest while
 * the gateway was away: 74 of 1,000 on average, and never 130.
 */
const LATE = 1 + BASE / 1_000;
const FIRST_VISITS = 130;

test.each([
  { from: 'an address each', addressOf: (session: number) => `${session}`, turns: RATE },
  { from: 'one address', addressOf: () => 'one', turns: RATE + 2 * RATE },
])(
  '1,000 sessions of $from come back after a restart at the rate that the gateway admits, none before its turn',
  async ({ addressOf, turns }) => {
    const back = await crash(addressOf);
    await storm.clock.turn((1.5 * (1_000 * SESSIONS)) / RATE);
    expect(storm.connected).toBeGreaterThan(0.95 * SESSIONS);
    // Who drew a long delay while the gateway was away comes later: at most the cap of the backoff, and then its turn.
    await storm.clock.turn(45_000);
    expect(storm.connected).toBe(SESSIONS);
    expect(storm.early).toEqual([]);
    const admitted = perSecond(storm.admitted, back);
    console.log(`admitted per second: ${admitted.join(' ')}; attempts: ${storm.visits.length}`);
    let sum = 0;
    for (const [second, count] of admitted.entries()) {
      sum += count;
      expect(sum).toBeLessThanOrEqual(2 * RATE + (second + 1) * RATE);
    }
    // Those turned away come about once more each, evenly: no second wave.
    expect(storm.visits.length).toBeLessThan(3 * SESSIONS);
    expect(Math.max(...perSecond(storm.visits, back).slice(3))).toBeLessThan(LATE * turns + FIRST_VISITS);
  },
);

test('while the gateway is away the attempts thin out, and no moment has a crowd', async () => {
  storm = new Storm(() => 'one');
  storm.up(100_000);
  for (const session of storm.sessions) session.start();
  await settle();
  storm.visits.length = 0;
  const lost = storm.clock.now();
  storm.down();
  await storm.clock.turn(60_000);
  const tries = perSecond(storm.visits, lost);
  console.log(`attempts per second: ${tries.join(' ')}`);
  expect(Math.max(...tries.slice(10))).toBeLessThan(SESSIONS / 4);
  const moments = new Map<number, number>();
  for (const { at } of storm.visits.filter(({ at }) => at > lost + 1_000)) {
    moments.set(Math.floor(at / 10), (moments.get(Math.floor(at / 10)) ?? 0) + 1);
  }
  expect(Math.max(...moments.values())).toBeLessThan(SESSIONS / 20);
});
