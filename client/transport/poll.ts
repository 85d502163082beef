import { type Clock, systemClock } from '../ground/clock.js';
import type { Json } from '../ground/json.js';
import type { Fetch } from '../ground/platform.js';
import { gatewayUrl, post } from './http.js';
import { type Exchange, RequestLink } from './request-link.js';
import type { LinkEvents, Rung } from './rung.js';

/** How long the gateway may hold a request until there are events, in seconds. */
const WAIT = 20;

/** The least time between two requests, in milliseconds. While much is written each response holds more events instead. */
const INTERVAL = 100;

/** How long a response may take beyond `WAIT`, in milliseconds. */
const RESPONSE_TIMEOUT = 10_000;

/** Only the end of a poll proves that the gateway is there. In milliseconds. */
const HEARTBEAT = 3 * WAIT * 1000;

/** The long-poll rung: one request after the other, each answered when there is something to send. */
export function pollRung(url: string, fetch: Fetch, clock: Clock = systemClock, json: Json = JSON): Rung {
  const address = gatewayUrl(url, 'http', '/v1/poll');
  const makeExchange = (): Exchange => {
    let earliest = 0;
    return async ({ commands, urgent, signal, onValue }) => {
      if (!urgent) {
        await pause(clock, earliest - clock.now(), signal);
        signal.throwIfAborted();
        earliest = clock.now() + INTERVAL;
      }
      const wait = urgent ? 0 : WAIT;
      const request = new AbortController();
      const abort = () => request.abort();
      signal.addEventListener('abort', abort);
      const cancelTimer = clock.after(wait * 1000 + RESPONSE_TIMEOUT, abort);
      try {
        const response = await post(fetch, `${address}?wait=${wait}`, commands, 'application/json', request.signal);
        const { frames } = json.parse(await response.text()) as { frames: unknown[] };
        for (const frame of frames) onValue(frame);
        return true;
      } finally {
        cancelTimer();
        signal.removeEventListener('abort', abort);
      }
    };
  };
  return { name: 'poll', open: (events) => new RequestLink(withHeartbeat(events), makeExchange()) };
}

/** Waits for `time` milliseconds, or until the signal is aborted. */
async function pause(clock: Clock, time: number, signal: AbortSignal): Promise<void> {
  if (time <= 0) return;
  await new Promise<void>((resolve) => {
    const cancel = clock.after(time, resolve);
    signal.addEventListener('abort', () => {
      cancel();
      resolve();
    });
  });
}

/** Raises the heartbeat: the gateway derives it from the wait of one request, and the first request has none. */
function withHeartbeat(events: LinkEvents): LinkEvents {
  return {
    ...events,
    onFrame(frame) {
      events.onFrame(
        frame.type === 'connected' ? { ...frame, heartbeat: Math.max(frame.heartbeat, HEARTBEAT) } : frame,
      );
    },
  };
}
