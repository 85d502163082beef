import fc from 'fast-check';
import { channel, commandText, idOf, isCommand, MAX_FRAME_BYTES, nested, rawValue, since, textFault } from './fuzz.js';

/** An HTTP request, a character for each of its bytes. */
export interface HttpRequest {
  readonly method: string;
  readonly text: string;
  /** The ids of its commands, where an answer with the status 200 has a reply to each of them. */
  readonly ids: readonly (number | undefined)[] | null;
}

/** Text that is no value of any parameter, as it stands in an address or, decoded or not, in a header. */
export const odd = fc.constantFrom(
  ...['', '%', '%zz', '%00', '%0d%0a', '%0D%0AX:%20y', '%ff%fe', '%ED%A0%80', '%u0041', '+', '=', '&', '&&=&', '#x'],
  ...['message:fuzz1', 'message%3afuzz1', '[]', '__proto__', '9'.repeat(400), '%27;--', '..%2f..%2f', 'null', '-0'],
  ...['message:a%00b', '%F0%9F%98%80', 'message%253Ax', '1'.repeat(3_000), 'zzz.1', '1.1.1', '-1', 'now', 'start'],
);

const names = fc.constantFrom(
  ...['channel', 'channel', 'since', 'since', 'wait', 'session', 'offset', 'timeout', 'cursor', 'live', 'token'],
  ...['channel[]', 'channel[__proto__][x]', 'channel%5B0%5D', 'CHANNEL', '%63hannel', '__proto__', 'constructor', ''],
);

/** True once in so many times. A number would not do: fast-check prefers the ends of its range. */
function once(times: number): fc.Arbitrary<boolean> {
  return fc.oneof({ weight: 1, arbitrary: fc.constant(true) }, { weight: times - 1, arbitrary: fc.constant(false) });
}

/** A lone surrogate has no bytes of its own in UTF-8. */
export const encoded = (text: string) => encodeURIComponent(Buffer.from(text).toString());
const asText = (json: string): string => String(JSON.parse(json));

export const channels = fc
  .oneof(
    { weight: 8, arbitrary: fc.array(fc.tuple(channel, fc.option(since)), { minLength: 1, maxLength: 4 }) },
    {
      weight: 1,
      arbitrary: fc
        .integer({ min: 15, max: 400 })
        .map((count) => Array.from({ length: count }, (_, at) => [`"message:fuzz${at}"`, '"start"'] as const)),
    },
  )
  .map((pairs) => pairs.map(([name, from]) => [asText(name), from === null ? 'now' : asText(from)] as const));

/** What a request asks for, as its query; `first` stands before all else. */
export function queries(first: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const faults = fc.oneof(
    { weight: 3, arbitrary: fc.constant<string[]>([]) },
    {
      weight: 1,
      arbitrary: fc.array(
        fc.tuple(names, odd).map((pair) => pair.join('=')),
        { maxLength: 3 },
      ),
    },
  );
  return fc.tuple(first, channels, fc.constantFrom(0, 1, 2, 3), faults).map(([start, pairs, sinces, wrong]) =>
    [
      start,
      ...pairs.flatMap(([name, from], at) => [
        `channel=${encoded(name)}`,
        // One for all, none, one for each, or one too few.
        ...(sinces === 0
          ? []
          : sinces === 1 && at > 0
            ? []
            : sinces === 2 && at === 2
              ? []
              : [`since=${encoded(from)}`]),
      ]),
      ...wrong,
    ].join('&'),
  );
}

export const sessions = fc.constantFrom(
  ...['fuzz0', 'fuzz1', 'fuzz2', 'healthy', 'healthy', '__proto__', 'constructor', 'x'.repeat(64), 'x'.repeat(65)],
  ...['', '%00', 'a%20b', '%', '%ff', '["fuzz","fuzz1"]'],
);

/** An answer to a poll: at once. Each of the others is refused. */
const waits = fc.oneof(
  { weight: 300, arbitrary: fc.constant('wait=0') },
  { weight: 10, arbitrary: fc.constantFrom('wait=', 'wait=0&wait=60', 'wait=%30', 'wait=-0', 'wait=0x0', 'wait=+0') },
  {
    weight: 10,
    arbitrary: fc.constantFrom('wait=-1', 'wait=61', 'wait=x', 'wait=1.5', 'wait=NaN', 'wait=1e999', 'wait=%00'),
  },
  { weight: 1, arbitrary: fc.constant('wait=1') },
);

export function headersOf(token: string, always: fc.Arbitrary<string[]>): fc.Arbitrary<string[]> {
  const bearer = fc.oneof(
    { weight: 8, arbitrary: fc.constant([`Authorization: Bearer ${token}`]) },
    {
      weight: 1,
      arbitrary: fc.constantFrom([], ['Authorization: Bearer x'], ['Authorization: Bearer'], ['Authorization: \xff']),
    },
  );
  const others = fc.constantFrom(
    ...['*', 'W/"', '""', ',,,', 'W/":x"', '"a", W/"b"', 'x'.repeat(4_000), '\xff'].map(
      (tag) => `If-None-Match: ${tag}`,
    ),
    ...['', ';;;', 'text/plain', 'application/json; charset=utf-16', 'text/plain; charset=nonsense'].map(
      (type) => `Content-Type: ${type}`,
    ),
    ...['multipart/form-data; boundary=x', 'application/x-www-form-urlencoded', '__proto__'].map(
      (type) => `Content-Type: ${type}`,
    ),
    ...['gzip', 'br', 'deflate', 'identity', 'x, y', ''].map((coding) => `Content-Encoding: ${coding}`),
    ...['Accept: nothing/at-all', 'Accept-Encoding: gzip;q=9, *', 'Range: bytes=0-1', 'Cache-Control: no-cache'],
    ...['Origin: null', 'Origin: http://x', 'X-Forwarded-For: ;;', 'Last-Event-ID: message%3Afuzz1=1', 'Expect: x'],
  );
  return fc
    .tuple(
      bearer,
      always,
      fc.array(
        others.filter((line) => line !== 'Expect: x'),
        { maxLength: 2 },
      ),
    )
    .map((lines) => ['Host: x', ...lines.flat()]);
}

interface Body {
  readonly text: string;
  readonly ids: HttpRequest['ids'];
}

/** Commands as they stand in a body: JSON in most cases, and in most of these an array of commands. */
function commandTexts(token: string): fc.Arbitrary<string[]> {
  const deep = fc.constantFrom(3_000, 7_500).map((depth) => `{"type":"ping","id":3,"x":${nested(depth)}}`);
  const text = fc.oneof({ weight: 60, arbitrary: commandText(token) }, { weight: 1, arbitrary: deep });
  return fc.tuple(fc.array(text, { minLength: 2, maxLength: 8 }), once(10)).map(([texts, careless]) => {
    return careless ? texts : texts.filter(isCommand);
  });
}

/** The body is garbled as a whole. */
const garbled = fc.oneof(
  { weight: 8, arbitrary: fc.constant((text: string) => text) },
  { weight: 1, arbitrary: textFault },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      (text: string) => text.padEnd(4 * MAX_FRAME_BYTES),
      (text: string) => text.padEnd(4 * MAX_FRAME_BYTES + 1),
      () => '['.repeat(10_000),
      () => `${'{"a":'.repeat(1_500)}1${'}'.repeat(1_500)}`,
      () => `[${'{"type":"ping","id":1},'.repeat(500)}{"type":"ping","id":1}]`,
      () => `[${'[],'.repeat(3_000)}[]]`,
    ),
  },
);

/** The body of a connection that is a POST. */
export function connections(token: string): fc.Arbitrary<Body> {
  const hello = JSON.stringify({ type: 'connect', id: 0, protocol: 1, token });
  return fc.tuple(commandTexts(token), once(10), garbled).map(([texts, rude, fault]) => {
    const all = rude ? texts : [hello, ...texts];
    const whole = `[${all.join(',')}]`;
    const text = fault(whole);
    return { text, ids: text.trim() === whole && all.every(isCommand) ? all.map(idOf) : null };
  });
}

/** The body of `POST /v1/commands`. */
export function orders(token: string, session: fc.Arbitrary<string>): fc.Arbitrary<Body> {
  const names_ = fc.oneof(
    { weight: 6, arbitrary: session.map((name) => JSON.stringify(name)) },
    { weight: 1, arbitrary: rawValue },
  );
  return fc.tuple(names_, commandTexts(token), garbled).map(([name, texts, fault]) => {
    return { text: fault(`{"session":${name},"commands":[${texts.join(',')}]}`), ids: null };
  });
}

export const NO_BODY: fc.Arbitrary<Body> = fc.constant({ text: '', ids: null });

/** Writes a request. A body has its length in front, or comes in chunks. */
export function written(
  method: string,
  target: fc.Arbitrary<string>,
  headers: fc.Arbitrary<string[]>,
  body: fc.Arbitrary<Body>,
): fc.Arbitrary<HttpRequest> {
  return fc.tuple(target, headers, body, once(5)).map(([path, lines, { text, ids }, chunked]) => {
    const bytes = Buffer.from(text).toString('latin1');
    const chunks = (bytes.match(/.{1,1000}/gs) ?? []).map((part) => `${part.length.toString(16)}\r\n${part}\r\n`);
    const rest =
      bytes === ''
        ? '\r\n'
        : chunked
          ? `Transfer-Encoding: chunked\r\n\r\n${chunks.join('')}0\r\n\r\n`
          : `Content-Length: ${bytes.length}\r\n\r\n${bytes}`;
    return { method, text: `${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n${rest}`, ids };
  });
}

export const NONE = fc.constant<string[]>([]);

/** An address as a proxy is asked for it; some are none. */
const absolute = fc.constantFrom('', '', '', '', '', '', '', '', '', 'http://x', 'http://x:99999', 'http://x:y@z');

export function at(path: string, query: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(absolute, query).map(([host, text]) => `${host}${path}?${text}`);
}

/** A path of the Durable Streams protocol. */
const stream = fc
  .oneof(
    { weight: 6, arbitrary: channel.map((name) => asText(name).split(':')) },
    { weight: 1, arbitrary: fc.tuple(odd, odd).map((parts) => parts.map((part) => part.replace(/[#?]/g, ''))) },
  )
  .map(([name = '', ...key]) => {
    const path = [name, key.join(':')].map((part) => (/^[\w%.-]*$/.test(part) ? part : encoded(part)));
    return `/v1/streams/${path.join('/')}`;
  });

const offset = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('-1', 'now') },
  { weight: 1, arbitrary: fc.constantFrom('', '0', 'zzz_0000000000000001', 'zzz_9999999999999999', 'a_1', '-2') },
  { weight: 1, arbitrary: odd },
);

/** Reads by the Durable Streams protocol; `live` as it stands in the query. */
export function streamPaths(live: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const faults = fc.oneof(
    { weight: 4, arbitrary: fc.constant('') },
    { weight: 1, arbitrary: fc.tuple(names, odd).map((pair) => `&${pair.join('=')}`) },
  );
  return fc
    .tuple(absolute, stream, live, offset, once(10), faults)
    .map(([host, path, how, from, bare, fault]) => `${host}${path}?${how}${bare ? '' : `&offset=${from}`}${fault}`);
}

/** Requests to the doors of readers that are answered at once, or within a second. `token` is one that the gateway takes. */
export function doorRequests(token: string): fc.Arbitrary<HttpRequest> {
  const headers = headersOf(token, NONE);
  const polls = queries(fc.tuple(waits, sessions).map(([wait, session]) => `${wait}&session=${session}`));
  const namedWell = queries(waits);
  const live = fc
    .tuple(
      fc.constantFrom('0', '0', '0', '0', '0.01', '0.05', '', '-1', 'x'),
      fc.constantFrom('&live=long-poll', '&live=long-poll', '', '', '', '', '&live=x', '&live=long-poll&live=sse'),
    )
    .map(([timeout, how]) => `timeout=${timeout}${how}`);
  return fc.oneof(
    { weight: 4, arbitrary: written('GET', at('/v1/poll', namedWell), headers, NO_BODY) },
    { weight: 2, arbitrary: written('GET', at('/v1/poll', polls), headers, NO_BODY) },
    { weight: 5, arbitrary: written('POST', at('/v1/poll', waits), headers, connections(token)) },
    { weight: 4, arbitrary: written('POST', at('/v1/commands', fc.constant('')), headers, orders(token, sessions)) },
    { weight: 3, arbitrary: written('GET', streamPaths(live), headers, NO_BODY) },
    { weight: 1, arbitrary: written('HEAD', streamPaths(live), headers, NO_BODY) },
    { weight: 1, arbitrary: written('POST', streamPaths(live), headers, connections(token)) },
    { weight: 1, arbitrary: written('HEAD', at('/v1/sse', namedWell), headers, NO_BODY) },
    { weight: 1, arbitrary: written('HEAD', at('/v1/poll', namedWell), headers, NO_BODY) },
    { weight: 1, arbitrary: written('OPTIONS', at('/v1/poll', namedWell), headers, NO_BODY) },
    { weight: 1, arbitrary: written('PUT', at('/v1/sse', namedWell), headers, connections(token)) },
  );
}
