import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { eventStreamReader } from '../../client/transport/event-stream.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('event-stream'), numRuns: runs(300) };

const text = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, '🚀'));
const part = fc.oneof(
  fc.record({ kind: fc.constant('event' as const), data: fc.array(text, { minLength: 1, maxLength: 3 }), id: text }),
  fc.record({ kind: fc.constant('comment' as const), text }),
  fc.record({ kind: fc.constant('retry' as const), text }),
);

test('whatever the line breaks, and wherever the stream is cut into chunks, the same data and comments come out', () => {
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 20 }),
      fc.infiniteStream(fc.constantFrom('\n', '\r', '\r\n')),
      fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
      (parts, breaks, sizes) => {
        const expected: string[] = [];
        let stream = '';
        let last = '';
        const line = (text: string) => {
          let br: string = breaks.next().value;
          if (last === '\r' && text === '' && br === '\n') br = '\r'; // together they would be one break
          last = br;
          stream += text + last;
        };
        for (const part of parts) {
          if (part.kind === 'event') {
            line(`id: ${part.id}`);
            for (const data of part.data) line(`data: ${data}`);
            line('');
            expected.push(part.data.join('\n'));
          } else if (part.kind === 'comment') {
            line(`:${part.text}`);
            expected.push(':');
          } else line(`retry: ${part.text}`);
        }
        stream += 'data: not ended\n';
        const found: string[] = [];
        const read = eventStreamReader({ onData: (data) => found.push(data), onComment: () => found.push(':') });
        const bytes = new TextEncoder().encode(stream);
        for (let at = 0; at < bytes.length; ) {
          const size = sizes.next().value;
          read(bytes.subarray(at, at + size));
          at += size;
        }
        expect(found).toEqual(expected);
      },
    ),
    parameters,
  );
});

test('a field without a space after its colon, and fields of other names', () => {
  const found: string[] = [];
  const read = eventStreamReader({ onData: (data) => found.push(data), onComment: () => {} });
  read(new TextEncoder().encode('data:{"a":1}\nevent: x\ndatabase: no\nid:7\n\ndata:  two spaces\n\n\n'));
  expect(found).toEqual(['{"a":1}', ' two spaces']);
});
