import { RowcastError } from '../error.js';
import { asFrame, type Frame } from '../protocol/index.js';
import { addressOf, type Fetch, post } from '../transport/http.js';
import { Refused } from '../transport/requests.js';
import type { Answer, Exchange, Refusal } from './answer.js';

/** Plain polling at the gateway `url`: answered at once, with what there is. */
export function exchangeWith(url: string, fetch: Fetch): Exchange {
  const address = `${addressOf(url, 'http', '/v1/poll')}?wait=0`;
  return async (commands, signal) => {
    try {
      return read(await (await post(fetch, address, commands, 'application/json', signal)).json());
    } catch (reason) {
      const refusal = reason instanceof Refused && reason.frame !== null ? refusalIn([reason.frame]) : null;
      if (refusal === null) throw reason;
      return { frames: [], positions: {}, refusal };
    }
  };
}

function read(value: unknown): Answer {
  const { frames, positions } = value as { frames: readonly unknown[]; positions: Record<string, unknown> };
  const known = frames.map(asFrame).filter((frame) => frame !== null);
  return { frames: known, positions, refusal: refusalIn(known) };
}

/** An error that answers no command concerns the request as a whole. */
function refusalIn(frames: readonly Frame[]): Refusal | null {
  for (const frame of frames) {
    if (frame.type !== 'error' || frame.id !== undefined) continue;
    return { error: new RowcastError(frame.code, frame.message), retryAfter: frame.retryAfter };
  }
  return null;
}
