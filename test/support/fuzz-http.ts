import fc from 'fast-check';
import { doorRequests, type HttpRequest } from './fuzz-doors.js';

/** What is written to one TCP connection: requests that each get an answer, and a tail that need not. */
export interface Call {
  readonly requests: readonly HttpRequest[];
  readonly tail: Buffer;
}

const method = fc.constantFrom(
  'GET',
  'GET',
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'M-SEARCH',
);

const path = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('/healthz', '/readyz', '/v1/channels') },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(
        ...['/', '//', '/%', '/%00', '/%ff', '/..%2f..%2fetc/passwd', '/../..', '/healthz/', '/HEALTHZ', '/healthz%2f'],
        ...[
          '/v1/ws',
          '/v1/ws?token=x',
          '/v1/channels?limit=-1',
          '/v1/channels/message:lobby',
          "/v1/'; DROP TABLE x --",
        ],
        ...['/v1/channels?__proto__[x]=1&a[b][c]=1&a=%', '/?', '/#', '*', 'http://x/healthz'],
        ...[
          '/__proto__',
          '/constructor',
          `/${'x'.repeat(4_000)}`,
          `/${'../'.repeat(500)}`,
          '/healthz?'.padEnd(3_000, '&a=1'),
        ],
      )
      .map((odd) => odd.replaceAll(' ', '%20')),
  },
  { weight: 1, arbitrary: fc.webPath().map((found) => found || '/') },
);

const value = fc.oneof(
  fc.constantFrom(
    '',
    '*',
    '0',
    '-1',
    'x',
    '"',
    ';;;',
    ',',
    'a=b; c',
    '*/*;q=9',
    'bytes=0-',
    'null',
    '\xff\xfe',
    'x'.repeat(4_000),
  ),
  fc.stringMatching(/^[\x21-\x7e]{1,30}$/),
);

const header = fc
  .tuple(
    fc.constantFrom(
      ...[
        'Accept',
        'Accept-Encoding',
        'Authorization',
        'Cookie',
        'Content-Type',
        'Origin',
        'Referer',
        'Range',
        'Forwarded',
      ],
      ...[
        'X-Forwarded-For',
        'X-Forwarded-Proto',
        'X-HTTP-Method-Override',
        'If-Match',
        '__proto__',
        'constructor',
        'TE',
      ],
      ...['Sec-WebSocket-Key', 'Sec-WebSocket-Version', 'Max-Forwards', 'From', 'Via', 'X-Request-Id', 'Date', 'Age'],
    ),
    value,
  )
  .map(([name, text]) => `${name}: ${text}`);

/** To the doors that are no readers', and to what is no door. */
function plainRequests(token: string): fc.Arbitrary<HttpRequest> {
  const authorization = fc.constantFrom(
    ...[
      `Bearer ${token}`,
      `bearer ${token}`,
      `Bearer ${token}x`,
      'Bearer',
      'Bearer ',
      'Basic eDp4',
      `Bearer  ${token}`,
    ],
  );
  const body = fc.oneof(
    { weight: 4, arbitrary: fc.constant('\r\n') },
    {
      weight: 1,
      arbitrary: fc
        .string({ maxLength: 200 })
        .map((text) => `Content-Length: ${Buffer.byteLength(text, 'latin1')}\r\n\r\n${text}`),
    },
    { weight: 1, arbitrary: fc.constant('Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n') },
    { weight: 1, arbitrary: fc.constant(`Content-Length: 20000\r\n\r\n${'x'.repeat(20_000)}`) },
  );
  return fc
    .tuple(method, path, fc.option(authorization), fc.array(header, { maxLength: 3 }), body)
    .map(([verb, target, bearer, headers, rest]) => {
      const lines = ['Host: x', ...(bearer === null ? [] : [`Authorization: ${bearer}`]), ...headers];
      return { method: verb, text: `${verb} ${target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n${rest}`, ids: null };
    });
}

const upgrade = (rest: string) => `GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n${rest}\r\n\r\n`;

const tails = [
  '',
  '',
  '',
  '',
  'GET',
  'GET x: HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ',
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf',
  'get /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
  'NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET / HTTP/1.1\r\n\r\n',
  'GET / HTTP/9.9\r\nHost: x\r\n\r\n',
  'GET /\r\n\r\n',
  'GET / HTTP/1.1\nHost: x\n\n',
  'GET  /  HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\n : x\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nX:\r\n folded\r\n\r\n',
  `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
  `GET /${'x'.repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n',
  'CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\n\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'SSH-2.0-OpenSSH_9.2\r\n',
  'GET http://x:99999/v1/poll?wait=0 HTTP/1.1\r\nHost: x\r\n\r\n',
  `GET /v1/poll?wait=0&${'channel=message:x&'.repeat(3_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  `GET /v1/sse HTTP/1.1\r\nHost: x\r\nLast-Event-ID: ${'message%3Ax=1&'.repeat(3_000)}\r\n\r\n`,
  'GET /v1/sse?channel=\0 HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /v1/sse?channel=message:\r\n HTTP/1.1\r\nHost: x\r\n\r\n',
  'GET /v1/sse HTTP/1.1\r\nHost: x\r\nLast-Event-ID: a\0b\r\n\r\n',
  'POST /v1/poll?wait=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n[{"type":"connect","id":0,',
  'POST /v1/sse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n[{"type":"connec\r\n',
  'POST /v1/commands HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
  'POST /v1/commands HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{',
  'POST /v1/poll HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  '\0\0\0\0',
  '\r\n\r\n\r\n',
  '{"type":"connect","id":1,"protocol":1}\n',
  'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n',
  upgrade('Upgrade: websocket'),
  upgrade('Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x'),
  upgrade('Upgrade: x'),
  upgrade('Upgrade: websocket\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='),
  upgrade(
    'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: ;;;',
  ),
  upgrade(
    'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a,a',
  ),
  upgrade('Upgrade: websocket\r\nSec-WebSocket-Version: 13').replace('GET', 'POST'),
  upgrade('Upgrade: websocket').replace('/v1/ws', '//'),
] as const;

export function calls(token: string): fc.Arbitrary<Call> {
  const tail = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...tails).map((text) => Buffer.from(text, 'latin1')) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)) },
  );
  const request = fc.oneof(plainRequests(token), doorRequests(token));
  return fc.record({ requests: fc.array(request, { maxLength: 6, size: 'max' }), tail });
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** The answers to pipelined requests, as far as they are complete. Of each `HEAD` the method says that no body comes. */
export function readAnswers(bytes: Buffer, methods: readonly string[]): { answers: Answer[]; rest: string } {
  const answers: Answer[] = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) break;
    const head = bytes.toString('latin1', at, end);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
    const length = methods[answers.length] === 'HEAD' ? 0 : Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    if (bytes.length < end + 4 + length) break;
    const body = bytes.toString('utf8', end + 4, end + 4 + length);
    answers.push({ status, type: /^content-type: ([\w/]+)/im.exec(head)?.[1] ?? '', body });
    at = end + 4 + length;
  }
  return { answers, rest: bytes.toString('latin1', at) };
}
