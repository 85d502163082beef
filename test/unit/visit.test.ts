import { beforeEach, describe, expect, test } from '@jest/globals';
import { Visit, type VisitPhase } from '../../client/session/visit.js';
import type { VisitEnd } from '../../client/session/visit-options.js';
import { FakeClock, FakeRung, settle } from '../support/fakes.js';

const HEARTBEAT = 1_000;
const HANDSHAKE_TIMEOUT = 4_000;

let clock: FakeClock;
let rung: FakeRung;
let visit: Visit;
let ends: VisitEnd[];
let reported: string[];
/** Settles the token that the visit has asked for. */
let give: (token: string | undefined) => void;
let refuse: (reason: unknown) => void;

beforeEach(() => {
  clock = new FakeClock();
  rung = new FakeRung('sse'); // a rung that may buffer: it has every kind of event
  ends = [];
  reported = [];
  visit = new Visit({
    rung,
    token: () =>
      new Promise((resolve, reject) => {
        give = resolve;
        refuse = reject;
      }),
    clock,
    random: () => 0.5,
    handshakeTimeout: HANDSHAKE_TIMEOUT,
    events: {
      onConnected: () => reported.push('connected'),
      onProven: () => reported.push('proven'),
      onFrame: ({ type }) => reported.push(type),
      onEnd: (end) => ends.push(end),
    },
  });
});

const receive = (frame: object) => rung.last.receive(JSON.stringify(frame));
const idOf = (type: string) => rung.last.sent.findLast((sent) => sent.type === type)?.id;
const connected = () => ({ type: 'connected', id: idOf('connect'), session: 's', heartbeat: HEARTBEAT, limits: {} });

/** Leads a new visit to a phase. */
const LEAD: Record<VisitPhase, () => Promise<void>> = {
  async token() {
    visit.begin();
  },
  async opening() {
    await LEAD.token();
    give('token');
    await settle();
  },
  async connecting() {
    await LEAD.opening();
    rung.last.events.onOpen();
  },
  async connected() {
    await LEAD.connecting();
    receive(connected());
    rung.last.events.onHeard();
  },
  async paused() {
    await LEAD.connected();
    receive({ type: 'paused', code: 'token_expired' });
  },
  async over() {
    await LEAD.connected();
    visit.close();
  },
};

type Event =
  | 'a token comes'
  | 'no token comes'
  | 'the link opens'
  | 'connect is answered'
  | 'connect is refused, stop'
  | 'connect is refused, retry'
  | 'events arrive'
  | 'the gateway pauses'
  | 'the fresh token is accepted'
  | 'the link closes, 1006'
  | 'the link closes, 4501'
  | 'time passes in silence'
  | 'a network hint'
  | 'close';

const link = (act: () => void | Promise<void>) => () => (rung.links.length > 0 ? act() : undefined);

const DO: Record<Event, () => void | Promise<void>> = {
  'a token comes': () => give('fresh'),
  'no token comes': () => refuse('no'),
  'the link opens': link(() => rung.last.events.onOpen()),
  'connect is answered': link(() => receive(connected())),
  'connect is refused, stop': link(() =>
    receive({ type: 'error', id: idOf('connect') ?? 1, code: 'unauthorized', message: 'why' }),
  ),
  'connect is refused, retry': link(() =>
    receive({ type: 'error', id: idOf('connect') ?? 1, code: 'rate_limited', message: '', retryAfter: 7 }),
  ),
  'events arrive': link(() => receive({ type: 'events', channel: 'a:1', from: 1, events: [{}] })),
  'the gateway pauses': link(() => receive({ type: 'paused', code: 'token_expired' })),
  'the fresh token is accepted': link(async () => {
    give('fresh');
    await settle();
    receive({ type: 'refreshed', id: idOf('refresh') ?? 99 });
  }),
  'the link closes, 1006': link(() => rung.last.events.onClose(1006, 'why')),
  'the link closes, 4501': link(() => rung.last.events.onClose(4501, 'why')),
  'time passes in silence': () => clock.turn(11_000),
  'a network hint': () => visit.probe(),
  close: () => visit.close(),
};

/** The phase that follows, and how the visit ended: `fault`, `no fault` of the transport, or `stop`. */
type Outcome = VisitPhase | 'over, fault' | 'over, no fault' | 'over, stop';

/** `-`: the event has no effect. A phase or an event that is missing here does not compile. */
const TABLE: Record<VisitPhase, Record<Event, Outcome | '-'>> = {
  token: {
    'a token comes': 'opening',
    'no token comes': 'over, no fault',
    'the link opens': '-',
    'connect is answered': '-',
    'connect is refused, stop': '-',
    'connect is refused, retry': '-',
    'events arrive': '-',
    'the gateway pauses': '-',
    'the fresh token is accepted': '-',
    'the link closes, 1006': '-',
    'the link closes, 4501': '-',
    'time passes in silence': 'over, no fault',
    'a network hint': '-',
    close: 'over',
  },
  opening: {
    'a token comes': '-',
    'no token comes': '-',
    'the link opens': 'connecting',
    'connect is answered': '-',
    'connect is refused, stop': '-',
    'connect is refused, retry': '-',
    'events arrive': '-',
    'the gateway pauses': '-',
    'the fresh token is accepted': '-',
    'the link closes, 1006': 'over, fault',
    'the link closes, 4501': 'over, stop',
    'time passes in silence': 'over, fault',
    'a network hint': '-',
    close: 'over',
  },
  connecting: {
    'a token comes': '-',
    'no token comes': '-',
    'the link opens': '-',
    'connect is answered': 'connected',
    'connect is refused, stop': 'over, stop',
    'connect is refused, retry': 'over, no fault',
    'events arrive': '-',
    'the gateway pauses': '-',
    'the fresh token is accepted': '-',
    'the link closes, 1006': 'over, fault',
    'the link closes, 4501': 'over, stop',
    'time passes in silence': 'over, fault',
    'a network hint': '-',
    close: 'over',
  },
  connected: {
    'a token comes': '-',
    'no token comes': '-',
    'the link opens': '-',
    'connect is answered': '-',
    'connect is refused, stop': '-',
    'connect is refused, retry': '-',
    'events arrive': '-',
    'the gateway pauses': 'paused',
    'the fresh token is accepted': '-',
    'the link closes, 1006': 'over, fault',
    'the link closes, 4501': 'over, stop',
    'time passes in silence': 'over, fault',
    'a network hint': '-',
    close: 'over',
  },
  paused: {
    'a token comes': '-',
    'no token comes': '-',
    'the link opens': '-',
    'connect is answered': '-',
    'connect is refused, stop': '-',
    'connect is refused, retry': '-',
    'events arrive': '-',
    'the gateway pauses': '-',
    'the fresh token is accepted': 'connected',
    'the link closes, 1006': 'over, fault',
    'the link closes, 4501': 'over, stop',
    'time passes in silence': 'over, fault',
    'a network hint': '-',
    close: 'over',
  },
  over: {
    'a token comes': '-',
    'no token comes': '-',
    'the link opens': '-',
    'connect is answered': '-',
    'connect is refused, stop': '-',
    'connect is refused, retry': '-',
    'events arrive': '-',
    'the gateway pauses': '-',
    'the fresh token is accepted': '-',
    'the link closes, 1006': '-',
    'the link closes, 4501': '-',
    'time passes in silence': '-',
    'a network hint': '-',
    close: '-',
  },
};

const cases = Object.entries(TABLE).flatMap(([phase, row]) =>
  Object.entries(row).map(([event, outcome]) => [phase, event, outcome] as [VisitPhase, Event, Outcome | '-']),
);

describe('each phase and each event', () => {
  test.each(cases)('%s, %s: %s', async (phase, event, outcome) => {
    await LEAD[phase]();
    expect(visit.phase).toBe(phase);
    await DO[event]();
    await settle();
    const [end] = ends;
    const how = end === undefined ? '' : end.stops ? ', stop' : end.transportAtFault ? ', fault' : ', no fault';
    expect(`${visit.phase}${how}`).toBe(outcome === '-' ? phase : outcome);
    expect(ends.length).toBeLessThanOrEqual(1);
    if (visit.phase !== 'over') return;
    // I7: no timer, no open link, and nothing is reported any more.
    const before = [ends.length, reported.length];
    expect([clock.timers, rung.links.every(({ closed }) => closed)]).toEqual([0, true]);
    for (const act of Object.values(DO)) await act();
    await clock.turn(60_000);
    expect([[ends.length, reported.length], clock.timers]).toEqual([before, 0]);
  });
});

describe('what can be read about a connection', () => {
  test('when data last arrived, and how long the last ping took', async () => {
    await LEAD.opening();
    expect([visit.heardAt, visit.roundTrip]).toEqual([null, null]);
    rung.last.events.onOpen();
    await clock.turn(30);
    receive(connected());
    expect([visit.heardAt, visit.roundTrip]).toEqual([clock.now(), 30]);
    rung.last.events.onHeard();
    await clock.turn(HEARTBEAT / 2 + 12);
    receive({ type: 'pong', id: idOf('ping') });
    expect([visit.heardAt, visit.roundTrip]).toEqual([clock.now(), 12]);
    await clock.turn(5);
    receive({ type: 'events', channel: 'a:1', from: 1, events: [{}] });
    expect([visit.heardAt, visit.roundTrip]).toEqual([clock.now(), 12]);
  });
});
