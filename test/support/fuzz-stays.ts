import fc from 'fast-check';
import {
  at,
  channels,
  connections,
  encoded,
  type HttpRequest,
  headersOf,
  NO_BODY,
  NONE,
  odd,
  orders,
  queries,
  sessions,
  streamPaths,
  written,
} from './fuzz-doors.js';

/** Connections that last until they are ended. */
export interface Stay {
  readonly request: HttpRequest;
  /** In `waiting` nothing comes before there is news. */
  readonly kind: 'frames' | 'messages' | 'waiting';
  /** Given to it while it lasts, by requests of their own. */
  readonly orders: readonly HttpRequest[];
  /** When the client leaves, and how: after so many of its own bytes, or when so many bytes have come. */
  readonly leave: { readonly sent: number } | { readonly read: number };
  readonly how: 'end' | 'reset';
}

/** What every stream brings that begins: its padding, and the first frame. */
const OPENING_BYTES = 2_200;

export function stays(token: string): fc.Arbitrary<Stay> {
  const positions = channels.map((pairs) => pairs.map((pair) => pair.map(encoded).join('=')).join('&'));
  const resumed = fc.oneof(
    { weight: 3, arbitrary: NONE },
    { weight: 1, arbitrary: fc.oneof(positions, odd).map((id) => [`Last-Event-ID: ${id}`]) },
  );
  const headers = headersOf(token, resumed);
  const whole = fc.nat({ max: 1_000_000 }).map((number) => `stay${number}`);
  return whole.chain((session) => {
    const named = fc.oneof(
      { weight: 4, arbitrary: fc.constant(`session=${session}`) },
      { weight: 1, arbitrary: sessions.map((name) => `session=${name}`) },
    );
    const forever = fc.tuple(named, fc.constantFrom('', '&wait=60', '&wait=5')).map((parts) => parts.join(''));
    const live = fc.constant('live=sse');
    const kinds = fc.oneof(
      {
        weight: 4,
        arbitrary: written('GET', at('/v1/sse', queries(named)), headers, NO_BODY).map((request) => ({
          request,
          kind: 'frames' as const,
        })),
      },
      {
        weight: 4,
        arbitrary: written('POST', at('/v1/sse', named), headers, connections(token)).map((request) => ({
          request,
          kind: 'frames' as const,
        })),
      },
      {
        weight: 2,
        arbitrary: written('GET', streamPaths(live), headers, NO_BODY).map((request) => ({
          request,
          kind: 'messages' as const,
        })),
      },
      {
        weight: 2,
        arbitrary: fc
          .oneof(
            written('GET', at('/v1/poll', queries(forever)), headers, NO_BODY),
            written('POST', at('/v1/poll', forever), headers, connections(token)),
          )
          .map((request) => ({ request, kind: 'waiting' as const })),
      },
    );
    const order = written(
      'POST',
      fc.constant('/v1/commands'),
      headersOf(token, NONE),
      orders(token, fc.constant(session)),
    );
    return fc
      .record({
        stay: kinds,
        orders: fc.array(order, { maxLength: 4 }),
        cut: fc.oneof(
          { weight: 5, arbitrary: fc.constant(null) },
          { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
        ),
        read: fc.nat({ max: OPENING_BYTES }),
        how: fc.constantFrom('end' as const, 'reset' as const),
      })
      .map(({ stay, orders: given, cut, read, how }) => {
        const { length } = stay.request.text;
        const silent = stay.kind === 'waiting' ? { sent: length } : { read: stay.kind === 'messages' ? 1 : read };
        return { ...stay, orders: given, how, leave: cut === null ? silent : { sent: Math.floor(cut * length) } };
      });
  });
}
