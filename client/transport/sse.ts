import { eventStreamReader } from './event-stream.js';
import { addressOf, type Fetch, post } from './http.js';
import { type Ask, Requests } from './requests.js';
import type { Rung } from './rung.js';

/** The SSE rung: a stream of server-sent events, read by fetch. Commands go up by asking for the stream anew. */
export function sseRung(url: string, fetch: Fetch): Rung {
  const address = addressOf(url, 'http', '/v1/sse');
  const ask: Ask = async ({ commands, signal, onValue, onComment }) => {
    const { body } = await post(fetch, address, commands, 'text/event-stream', signal);
    if (body === null) throw new Error('this platform does not stream');
    let begun = false;
    const read = eventStreamReader({
      onData(data) {
        begun = true;
        onValue(JSON.parse(data));
      },
      onComment() {
        if (begun) onComment(); // before the first frame it is the padding, which proves nothing
      },
    });
    const reader = body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      read(value);
    }
  };
  return { name: 'sse', mayBuffer: true, open: (events) => new Requests(events, ask) };
}
