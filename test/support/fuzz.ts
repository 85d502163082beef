import fc from 'fast-check';
import { CLOSE, closePayload, encodeFrame, PING, PONG, TEXT } from './raw-websocket.js';

/** One message of a client as bytes, and what must come back for it. */
export interface Message {
  readonly bytes: Buffer;
  readonly expects: { readonly reply: number | undefined } | { readonly pong: Buffer } | null;
}

/** How a visit ends. `codes`: with which of these the gateway closes; null where the client is gone first. */
export interface Ending {
  readonly name: string;
  readonly bytes: Buffer;
  readonly codes: readonly number[] | null;
  readonly leave: 'wait' | 'end' | 'reset';
}

export interface Visit {
  /** Whether it waits for the answer to `connect` before it goes on. */
  readonly polite: boolean;
  readonly messages: readonly Message[];
  /** The end is written together with the messages, and not after their answers. */
  readonly hasty: boolean;
  readonly ending: Ending;
}

export const MAX_FRAME_BYTES = 4_096;
const HARD_LIMIT = 16 * MAX_FRAME_BYTES;

export const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

/** Text where a JSON value belongs. Not all of it is JSON. */
export const rawValue = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue().map((value) => JSON.stringify(value)) },
  fc.constantFrom(
    ...['0', '1', '-0', '-1', '1.0', '1.5', '1e0', '1e400', '01', '+1', '0x1', 'NaN', 'undefined', 'Infinity'],
    ...['9007199254740991', '9007199254740992', '-9007199254740993', '123456789012345678901234567890'],
    ...['null', 'true', 'false', '""', '" "', '"1"', '[]', '{}', '[1]', '{"__proto__":{"type":"ping"}}', "'1'", ''],
    ...['"\\ud800"', '"\\u0000"', '"\\u202e"', '"\\x41"', '"\n"', '"\uFEFF"', '"connect"', '"ping"', '"toString"'],
    nested(50),
    nested(1_500),
    `${'{"a":'.repeat(300)}1${'}'.repeat(300)}`,
  ),
);

const id = fc.oneof(
  { weight: 8, arbitrary: fc.nat({ max: 1_000_000 }).map(String) },
  { weight: 1, arbitrary: fc.constantFrom('0', '9007199254740991', '-0', '1e3', '7.0') },
  { weight: 1, arbitrary: rawValue },
);

/** `message` has text keys, `execution` uuids, `order` integers. As JSON. */
export const channel = fc
  .oneof(
    { weight: 4, arbitrary: fc.nat({ max: 9 }).map((key) => `message:fuzz${key}`) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }).map((key) => `message:${key}`) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
    { weight: 1, arbitrary: fc.uuid().map((key) => `execution:${key}`) },
    { weight: 1, arbitrary: fc.integer().map((key) => `order:${key}`) },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        ...['', ':', 'message', 'message:', ':lobby', 'Message:lobby', ' message:lobby', 'nix:1', '__proto__:1'],
        ...['constructor:1', 'message:__proto__', 'message:toString', 'message:\0', 'message:a\0b', 'message:*'],
        ...["message:'; DROP TABLE rowcast.messages; --", "message:' OR '1'='1", 'message:"quoted"', 'message:\\'],
        ...['message:$1', 'message:%s', 'message:{1,2}', 'message:NULL', "message:E'\\000'", 'message:\ud800'],
        ...['message:\udc00\ud800', 'message:\u{1f600}', 'message:e\u0301', 'message:\u202e', 'message:\n\r\t'],
        ...['execution:x', 'execution:00000000-0000-0000-0000-00000000000G', 'order:007', 'order:-0', 'order:1.5'],
        ...['execution:6F1C0000-0000-4000-8000-000000000000', 'order:9223372036854775807', 'order:2147483648'],
        ...[
          `order:${'9'.repeat(400)}`,
          `message:${'x'.repeat(504)}`,
          `message:${'x'.repeat(505)}`,
          `${'y'.repeat(41)}:1`,
        ],
      ),
    },
  )
  .map((name) => JSON.stringify(name));

export const since = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('"start"', '"now"', '"0"', '"1"', '"5"') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      ...[
        '""',
        '"-1"',
        '"01"',
        '"1.5"',
        '"START"',
        '"9007199254740991"',
        '"9007199254740992"',
        '"99999999999999999999"',
      ],
      ...['"zzz.1"', '"zzz.9007199254740991"', '".1"', '"1."', '"1.1.1"', '"a b.1"', '1', '1.5', 'null', '"now "'],
      ...[
        '"\\ud800"',
        '"\\u0000"',
        '"\\u0661"',
        '"0x1"',
        '"1e3"',
        `"${'z'.repeat(16)}.0"`,
        `"${'z'.repeat(17)}.0"`,
        `"${'1'.repeat(65)}"`,
      ],
    ),
  },
  { weight: 1, arbitrary: fc.nat().map((seq) => `"abc.${seq}"`) },
);

type Fields = [key: string, value: string][];

/** The text of a value, and how it comes to be. */
function command(token: string): fc.Arbitrary<Fields> {
  const text = JSON.stringify;
  const tokens = fc.oneof(
    { weight: 8, arbitrary: fc.constant(text(token)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('""', '"a.b.c"', '"nonsense"', text(`${token}x`), text(token.slice(0, -9))),
    },
  );
  const make = (type: string, fields: Record<string, fc.Arbitrary<string>>) =>
    fc.record({ id, ...fields }).map((values): Fields => [['type', text(type)], ...Object.entries(values)]);
  return fc.oneof(
    { weight: 6, arbitrary: make('subscribe', { channel, since }) },
    { weight: 2, arbitrary: make('subscribe', { channel }) },
    { weight: 6, arbitrary: make('unsubscribe', { channel }) },
    { weight: 3, arbitrary: make('ping', {}) },
    { weight: 1, arbitrary: make('connect', { protocol: fc.constant('1'), token: tokens }) },
    { weight: 1, arbitrary: make('refresh', { token: tokens }) },
  );
}

const fieldName = fc.constantFrom(
  'type',
  'id',
  'channel',
  'since',
  'protocol',
  'token',
  'x',
  '__proto__',
  'constructor',
);

/** Fields are dropped, doubled, replaced and added. */
const fieldFault = fc.oneof(
  fc.nat().map((at) => (fields: Fields) => fields.filter((_, index) => index !== at % fields.length)),
  fc.tuple(fc.nat(), rawValue).map(([at, value]) => (fields: Fields) => {
    return fields.map(([key, old], index): [string, string] => [key, index === at % fields.length ? value : old]);
  }),
  fc.tuple(fieldName, rawValue).map(
    ([key, value]) =>
      (fields: Fields): Fields => [...fields, [key, value]],
  ),
  fc.tuple(fieldName, rawValue).map(
    ([key, value]) =>
      (fields: Fields): Fields => [[key, value], ...fields],
  ),
);

export const textFault = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }).map((at) => (text: string) => text.slice(0, at * text.length)),
  fc.tuple(fc.nat(), fc.string({ unit: 'binary', maxLength: 3 })).map(([at, odd]) => (text: string) => {
    const place = at % (text.length + 1);
    return text.slice(0, place) + odd + text.slice(place + odd.length);
  }),
  fc.constantFrom('\uFEFF', '[', '"', ',', '\0', ' \n\t').map((odd) => (text: string) => odd + text),
  fc.constantFrom('}', ']', ',', '\0', ' \n\t', '{}', '//').map((odd) => (text: string) => text + odd),
  fc.constant((text: string) => `[${text}]`),
  fc
    .constantFrom(...['', ' ', 'null', '""', '0', '[]', '{}', '{"type":{}}', '\u{1f600}', nested(2_000)])
    .map((text) => () => text),
  // Around the limit, to the byte.
  fc.integer({ min: -2, max: 2 }).map((off) => (text: string) => text.padEnd(MAX_FRAME_BYTES + off)),
  fc.constant((text: string) => text.padEnd(3 * MAX_FRAME_BYTES)),
);

export function commandText(token: string): fc.Arbitrary<string> {
  const faults = <T>(fault: fc.Arbitrary<T>, max: number) =>
    fc.oneof(
      { weight: 3, arbitrary: fc.constant<T[]>([]) },
      { weight: 1, arbitrary: fc.array(fault, { maxLength: max }) },
    );
  return fc.tuple(command(token), faults(fieldFault, 3), faults(textFault, 2)).map(([fields, wrong, garbled]) => {
    const odd = wrong.reduce((before, fault) => fault(before), fields);
    const text = `{${odd.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`;
    return garbled.reduce((before, fault) => fault(before), text);
  });
}

function parsed(text: string): { id?: unknown } | null {
  try {
    const value = JSON.parse(text) as { type?: unknown; id?: unknown } | null;
    return typeof value === 'object' && !Array.isArray(value) && typeof value?.type === 'string' ? value : null;
  } catch {
    return null;
  }
}

/** Whether a text is an object with a type, right or wrong. */
export function isCommand(text: string): boolean {
  return parsed(text) !== null;
}

/** The id that the answer to a text must have: see 3.5 of the protocol. */
export function idOf(text: string): number | undefined {
  const id = parsed(text)?.id;
  return Number.isSafeInteger(id) && (id as number) >= 0 ? (id as number) : undefined;
}

const CONTINUATION = 0x0;
const BINARY = 0x2;

function message(token: string): fc.Arbitrary<Message[]> {
  // What a lone surrogate becomes in UTF-8 is what the gateway reads.
  const texts = commandText(token).map((text) => Buffer.from(text).toString());
  const asked = (text: string) => ({ reply: Buffer.byteLength(text) > MAX_FRAME_BYTES ? undefined : idOf(text) });
  const controls = fc.tuple(fc.constantFrom(PING, PONG), fc.uint8Array({ maxLength: 125 })).map(
    ([opcode, bytes]): Message => ({
      bytes: encodeFrame(opcode, bytes),
      expects: opcode === PING ? { pong: Buffer.from(bytes) } : null,
    }),
  );
  const whole = texts.map((text): Message[] => [{ bytes: encodeFrame(TEXT, Buffer.from(text)), expects: asked(text) }]);
  const fragments = fc
    .tuple(texts, fc.array(fc.nat(), { minLength: 1, maxLength: 5 }), controls)
    .map(([text, cuts, control]) => {
      const data = Buffer.from(text);
      const places = [0, ...cuts.map((cut) => cut % (data.length + 1)).sort((a, b) => a - b), data.length];
      const parts = places.slice(1).map((end, index): Message => {
        const fin = index === places.length - 2;
        const bytes = encodeFrame(index === 0 ? TEXT : CONTINUATION, data.subarray(places[index], end), { fin });
        return { bytes, expects: fin ? asked(text) : null };
      });
      return [...parts.slice(0, 1), control, ...parts.slice(1)];
    });
  return fc.oneof(
    { weight: 40, arbitrary: whole },
    { weight: 4, arbitrary: fragments },
    { weight: 3, arbitrary: controls.map((control) => [control]) },
  );
}

const INVALID_UTF8 = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82]];

const violations: readonly (readonly [string, Buffer, number])[] = [
  ['not masked', encodeFrame(TEXT, Buffer.from('{}'), { masked: false }), 1002],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(
    (opcode) => [`opcode ${opcode}`, encodeFrame(opcode, Buffer.from('x')), 1002] as const,
  ),
  ...[1, 2, 4, 7].map((rsv) => [`rsv ${rsv}`, encodeFrame(TEXT, Buffer.from('{}'), { rsv }), 1002] as const),
  ['a continuation of nothing', encodeFrame(CONTINUATION, Buffer.from('x')), 1002],
  [
    'a text within a text',
    Buffer.concat([encodeFrame(TEXT, Buffer.from('{'), { fin: false }), encodeFrame(TEXT, Buffer.from('}'))]),
    1002,
  ],
  ['a ping in fragments', encodeFrame(PING, Buffer.from('x'), { fin: false }), 1002],
  ['a ping of 126 bytes', encodeFrame(PING, Buffer.alloc(126)), 1002],
  ['a close of one byte', encodeFrame(CLOSE, Buffer.from('x')), 1002],
  ...[0, 999, 1004, 1005, 1006, 1016, 2999, 5000, 65_535].map(
    (code) => [`close ${code}`, encodeFrame(CLOSE, closePayload(code)), 1002] as const,
  ),
  ['a reason that is not UTF-8', encodeFrame(CLOSE, closePayload(1000, Buffer.from([0xff]))), 1007],
  ...INVALID_UTF8.map((bytes) => [`text ${bytes}`, encodeFrame(TEXT, Buffer.from(bytes)), 1007] as const),
  ['a length over the limit', encodeFrame(TEXT, Buffer.from('x'), { length: HARD_LIMIT + 1 }), 1009],
  ['a length of 2^63', encodeFrame(TEXT, Buffer.from('x'), { length: 2n ** 63n }), 1009],
  [
    'fragments over the limit',
    Buffer.concat([
      encodeFrame(TEXT, Buffer.alloc(HARD_LIMIT - 10, 0x20), { fin: false }),
      encodeFrame(CONTINUATION, Buffer.alloc(11, 0x20)),
    ]),
    1009,
  ],
];

const ending: fc.Arbitrary<Ending> = fc.oneof(
  fc.constantFrom(1000, 1001, 1011, 3000, 4000, 4501, 4999).map(
    (code): Ending => ({
      name: `close ${code}`,
      bytes: encodeFrame(CLOSE, closePayload(code, 'bye')),
      codes: [code],
      leave: 'wait',
    }),
  ),
  fc.constant<Ending>({
    name: 'close without a code',
    bytes: encodeFrame(CLOSE, Buffer.alloc(0)),
    codes: [1005],
    leave: 'wait',
  }),
  {
    weight: 3,
    arbitrary: fc
      .constantFrom(...violations)
      .map(([name, bytes, code]): Ending => ({ name, bytes, codes: [code], leave: 'wait' })),
  },
  fc.constantFrom('end', 'reset').map((leave): Ending => ({ name: leave, bytes: Buffer.alloc(0), codes: null, leave })),
  fc.constantFrom('end', 'reset').map(
    (leave): Ending => ({
      name: `half a frame, ${leave}`,
      bytes: encodeFrame(TEXT, Buffer.from('{"type"'), { length: 1_000 }),
      codes: null,
      leave,
    }),
  ),
  fc
    .uint8Array({ maxLength: 64 })
    // What is masked and has no reserved bit may happen to be a frame, and is answered.
    .filter(([first = 0, second = 0]) => (first & 0x70) !== 0 || second < 0x80)
    .map((bytes): Ending => ({ name: 'noise', bytes: Buffer.from(bytes), codes: null, leave: 'end' })),
);

/** One connection: what it sends and how it ends. `token` is one that the gateway takes. */
export function visits(token: string): fc.Arbitrary<Visit> {
  const connect = { type: 'connect', id: 1, protocol: 1, token };
  const hello: Message = { bytes: encodeFrame(TEXT, Buffer.from(JSON.stringify(connect))), expects: { reply: 1 } };
  const binary = fc
    .uint8Array({ maxLength: 40 })
    .map((bytes): Message => ({ bytes: encodeFrame(BINARY, bytes), expects: { reply: undefined } }));
  return fc
    .record({
      polite: fc.nat({ max: 9 }).map((n) => n > 0),
      hasty: fc.nat({ max: 4 }).map((n) => n === 0),
      body: fc.array(message(token), { minLength: 40, maxLength: 90, size: 'max' }),
      last: fc.option(binary),
      ending,
    })
    .map(({ polite, hasty, body, last, ending }) => ({
      polite,
      hasty,
      ending,
      messages: [...(polite ? [hello] : []), ...body.flat(), ...(last === null ? [] : [last])],
    }));
}
