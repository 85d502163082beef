import { afterEach, beforeEach, expect } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import { Session } from '../../client/session/session.js';
import { FakeClock, FakeEnvironment, type FakeLink, FakeRung, settle } from '../support/fakes.js';

/** A session over three fake rungs, for the tests of the ladder. */

export const HEARTBEAT = 25_000;
/** When the first trial of a better rung is due, in milliseconds. */
export const TRIAL = 2_000;

/** What a test may change before, or while, it runs. */
export const given = {
  remembered: null as string | null,
  random: 0.5,
};
export let clock: FakeClock;
export let environment: FakeEnvironment;
export let websocket: FakeRung;
export let sse: FakeRung;
export let poll: FakeRung;
export let states: string[];
let tokens: number;
export let session: Session;

beforeEach(() => {
  clock = new FakeClock();
  environment = new FakeEnvironment();
  [websocket, sse, poll] = [new FakeRung('websocket'), new FakeRung('sse'), new FakeRung('poll')];
  states = [];
  given.remembered = null;
  tokens = 0;
  given.random = 0.5;
});

afterEach(() => {
  session.close();
  expect(clock.timers).toBe(0);
  expect(environment.watched).toBe(false);
  for (const { links } of [websocket, sse, poll]) expect(links.filter(({ closed }) => !closed)).toEqual([]);
});

export async function start(): Promise<void> {
  session = new Session({
    rungs: [websocket, sse, poll],
    memory: {
      read: () => given.remembered,
      write: (name) => {
        given.remembered = name;
      },
    },
    token: async () => `token ${++tokens}`,
    clock,
    random: () => given.random,
    backoff: new Backoff({ base: 1_000, cap: 8_000 }, () => 1), // always the longest delay
    environment,
    events: {
      onState: (state, error) => states.push([state, session.transport, error?.code].filter(Boolean).join(' ')),
      onFrame: () => {},
    },
  });
  session.start();
  await settle();
}

export async function greet({ last }: FakeRung): Promise<void> {
  last.events.onOpen();
  const limits = { maxFrameBytes: 1, maxSubscriptions: 1 };
  last.receive(JSON.stringify({ type: 'connected', id: last.sent[0]?.id, session: 's', heartbeat: HEARTBEAT, limits }));
  await settle();
}

export async function fail({ last }: FakeRung, code = 1006): Promise<void> {
  last.events.onClose(code, '');
  await settle();
}

/** Time passes, in which the link in use lives. */
export async function pass(time: number, link: FakeLink): Promise<void> {
  for (let left = time; left > 0; left -= HEARTBEAT / 4) {
    await clock.turn(Math.min(left, HEARTBEAT / 4));
    if (!link.closed) link.events.onHeard();
  }
}

export const counts = () => [websocket, sse, poll].map(({ links }) => links.length);
