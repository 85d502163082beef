import { type Clock, systemClock } from '../ground/clock.js';
import { addressOf, type Fetch, post } from './http.js';
import { type Ask, Requests } from './requests.js';
import type { LinkEvents, Rung } from './rung.js';

/** How long the gateway may wait for news, in seconds. */
const WAIT = 20;

/** Between two requests, in milliseconds: where much is written, each answer holds more, instead of there being more of them. */
const INTERVAL = 100;

/** How long an answer may take that waits for nothing, in milliseconds. */
const ANSWER_TIMEOUT = 10_000;

/** The connection is heard when a poll is answered. In milliseconds. */
const HEARTBEAT = 3 * WAIT * 1000;

/** The long-poll rung: one request after the other, each answered when there is something to say. */
export function pollRung(url: string, fetch: Fetch, clock: Clock = systemClock): Rung {
  const address = addressOf(url, 'http', '/v1/poll');
  const makeAsk = (): Ask => {
    let from = 0;
    return async ({ commands, urgent, signal, onValue }) => {
      if (!urgent) {
        await pause(clock, from - clock.now(), signal);
        signal.throwIfAborted();
        from = clock.now() + INTERVAL;
      }
      const wait = urgent ? 0 : WAIT;
      const request = new AbortController();
      const abort = () => request.abort();
      signal.addEventListener('abort', abort);
      const cancelTimer = clock.after(wait * 1000 + ANSWER_TIMEOUT, abort);
      try {
        const response = await post(fetch, `${address}?wait=${wait}`, commands, 'application/json', request.signal);
        const { frames } = (await response.json()) as { frames: unknown[] };
        for (const frame of frames) onValue(frame);
        return true;
      } finally {
        cancelTimer();
        signal.removeEventListener('abort', abort);
      }
    };
  };
  return { name: 'poll', open: (events) => new Requests(withHeartbeat(events), makeAsk()) };
}

/** `time` in milliseconds. Resolves early where nobody waits any more: what follows sees the signal as well. */
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

/** The gateway derives the heartbeat from the wait of one request, and the first one waits for nothing. */
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
