import type { Json } from '../ground/json.js';
import type { Fetch } from '../ground/platform.js';
import { asFrame, type Command, type Frame } from '../protocol/index.js';
import { gatewayUrl, HttpRefusal, post } from '../transport/http.js';

/** The response to one request. An error that answers no command refuses the request as a whole. */
export interface PollResponse {
  readonly frames: readonly Frame[];
  /** The position of each channel of the request after the response. */
  readonly positions: Readonly<Record<string, unknown>>;
}

/** Makes one request. Rejects if no gateway has answered. */
export type Poll = (commands: readonly Command[], signal: AbortSignal) => Promise<PollResponse>;

/** Polls the gateway at `url`, which answers at once with the events that there are. */
export function pollOf(url: string, fetch: Fetch, json: Json): Poll {
  const address = `${gatewayUrl(url, 'http', '/v1/poll')}?wait=0`;
  return async (commands, signal) => {
    try {
      const response = await post(fetch, address, commands, 'application/json', signal);
      return read(json.parse(await response.text()));
    } catch (reason) {
      if (!(reason instanceof HttpRefusal) || reason.frame === null) throw reason;
      return { frames: [reason.frame], positions: {} };
    }
  };
}

function read(value: unknown): PollResponse {
  const { frames, positions } = value as { frames: readonly unknown[]; positions: Record<string, unknown> };
  return { frames: frames.map(asFrame).filter((frame) => frame !== null), positions };
}
