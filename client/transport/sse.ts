import type { Json } from '../ground/json.js';
import type { Fetch } from '../ground/platform.js';
import { eventStreamReader } from './event-stream.js';
import { gatewayUrl, post } from './http.js';
import { type Exchange, RequestLink } from './request-link.js';
import type { Rung } from './rung.js';

/** The SSE rung: server-sent events, read with `fetch`. New commands are sent by requesting the stream again. */
export function sseRung(url: string, fetch: Fetch, json: Json = JSON): Rung {
  const address = gatewayUrl(url, 'http', '/v1/sse');
  const exchange: Exchange = async ({ commands, signal, onValue, onComment }) => {
    const { body } = await post(fetch, address, commands, 'text/event-stream', signal);
    if (body === null) throw new Error('fetch does not stream');
    let begun = false;
    const read = eventStreamReader({
      onData(data) {
        begun = true;
        onValue(json.parse(data));
      },
      onComment() {
        if (begun) onComment(); // a comment before the first frame is padding, and proves nothing
      },
    });
    const reader = body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      read(value);
    }
  };
  return { name: 'sse', mayBuffer: true, open: (events) => new RequestLink(events, exchange) };
}
