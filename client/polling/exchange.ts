import { asFrame } from '../protocol/index.js';
import { addressOf, type Fetch, post } from '../transport/http.js';
import { Refused } from '../transport/requests.js';
import type { Answer, Exchange } from './answer.js';

/** Plain polling at the gateway `url`: answered at once, with what there is. */
export function exchangeWith(url: string, fetch: Fetch): Exchange {
  const address = `${addressOf(url, 'http', '/v1/poll')}?wait=0`;
  return async (commands, signal) => {
    try {
      return read(await (await post(fetch, address, commands, 'application/json', signal)).json());
    } catch (reason) {
      if (!(reason instanceof Refused) || reason.frame === null) throw reason;
      return { frames: [reason.frame], positions: {} };
    }
  };
}

function read(value: unknown): Answer {
  const { frames, positions } = value as { frames: readonly unknown[]; positions: Record<string, unknown> };
  return { frames: frames.map(asFrame).filter((frame) => frame !== null), positions };
}
