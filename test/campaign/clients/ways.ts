import { WebSocket } from 'ws';
import type { WebSocketConstructor } from '../../../client/ground/platform.js';
import type { Random } from '../../support/random.js';
import type { Ports } from './plan.js';

const SSE = '/v1/sse';

/** What takes the client library to any of the gateways, anew each time, whatever address it is given. */
export interface Ways {
  readonly WebSocket: WebSocketConstructor;
  readonly fetch: typeof fetch;
}

export function waysTo(ports: Ports, random: Random): Ways {
  class Switching extends WebSocket {
    constructor() {
      super(`ws://127.0.0.1:${random.pick(ports.websocket)}/v1/ws`, { perMessageDeflate: false });
    }
  }
  return {
    WebSocket: Switching as unknown as WebSocketConstructor,
    fetch: (input, init) => {
      const address = new URL(input instanceof Request ? input.url : input);
      const to = address.pathname === SSE ? ports.sse : ports.poll;
      return fetch(Object.assign(address, { host: `127.0.0.1:${random.pick(to)}` }), init);
    },
  };
}
