import { beforeEach } from '@jest/globals';
import { Backoff } from '../../client/ground/backoff.js';
import type { RowcastError } from '../../client/ground/error.js';
import type { Frame } from '../../client/protocol/index.js';
import type { SessionState } from '../../client/session/connection.js';
import { Session } from '../../client/session/session.js';
import { FakeClock, FakeEnvironment, FakeRung, settle } from '../support/fakes.js';

/** A session over one fake rung, for the tests of sessions. The test plays the gateway. */

export const HEARTBEAT = 1_000;
export const BACKOFF = { base: 100, cap: 1_600 };
export const CONNECTED = {
  type: 'connected',
  id: 1,
  session: 's',
  heartbeat: HEARTBEAT,
  limits: { maxFrameBytes: 1, maxSubscriptions: 1 },
};

/** What a test may change before, or while, it runs. */
export const given = {
  token: (): Promise<string | undefined> => Promise.resolve(undefined),
  /** How often a token was asked for. */
  tokens: 0,
  random: (): number => 0.5,
  listener: (_state: SessionState): void => {},
};
export let clock: FakeClock;
export let rung: FakeRung;
export let states: SessionState[];
export let errorsSeen: (RowcastError | undefined)[];
export let frames: Frame[];

beforeEach(() => {
  clock = new FakeClock();
  rung = new FakeRung();
  given.random = () => 0.5;
  states = [];
  errorsSeen = [];
  frames = [];
  given.tokens = 0;
  given.token = async () => `token ${++given.tokens}`;
  given.listener = () => {};
});

export function makeSession(): Session {
  return new Session({
    rungs: [rung],
    token: () => given.token(),
    clock,
    random: () => given.random(),
    backoff: new Backoff(BACKOFF, () => given.random()),
    environment: new FakeEnvironment(),
    events: {
      onState(state, error) {
        states.push(state);
        errorsSeen.push(error);
        given.listener(state);
      },
      onFrame: (frame) => frames.push(frame),
    },
  });
}

export function receive(frame: object, link = rung.last): void {
  link.receive(JSON.stringify(frame));
}

/** Plays the gateway up to the connected reply, on the newest link. */
export async function greet(heartbeat = HEARTBEAT): Promise<void> {
  await settle();
  rung.last.events.onOpen();
  receive({ ...CONNECTED, id: rung.last.sent[0]?.id, heartbeat });
}

export async function connect(): Promise<Session> {
  const session = makeSession();
  session.start();
  await greet();
  return session;
}
