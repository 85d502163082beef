import * as library from 'reconnecting-websocket';
import type { Json } from '../ground/json.js';
import type { WebSocketConstructor } from '../ground/platform.js';
import { parseFrame } from '../protocol/index.js';
import { gatewayUrl } from './http.js';
import type { Link, LinkEvents, Rung } from './rung.js';

type Library = typeof import('reconnecting-websocket').default;

// The package is CommonJS with a `default` of its own; bundlers and Node unwrap a different number of them.
const outer = library.default as unknown as Library | { default: Library };
const ReconnectingWebSocket = 'default' in outer ? outer.default : outer;

/** Longer than any handshake timeout, because the visit ends a handshake, not the library. In milliseconds. */
const NEVER = 3_600_000;

/**
 * The WebSocket rung: one disposable socket per visit. The library neither reconnects (`maxRetries: 0`) nor queues
 * messages: the session decides when to connect again, and which command is sent first.
 */
export function websocketRung(url: string, WebSocket: WebSocketConstructor, json: Json = JSON): Rung {
  const address = gatewayUrl(url, 'ws', '/v1/ws');
  return {
    name: 'websocket',
    open(events: LinkEvents): Link {
      const socket = new ReconnectingWebSocket(address, [], {
        WebSocket: catching(WebSocket, (reason) => unlessEnded(() => end(1006, String(reason)))(null)),
        maxRetries: 0,
        maxEnqueuedMessages: 0,
        connectionTimeout: NEVER,
      });
      let ended = false;
      const unlessEnded = <A>(handle: (argument: A) => void) => {
        return (argument: A) => {
          if (!ended) handle(argument);
        };
      };
      const end = (code: number, reason: string) => {
        ended = true;
        socket.close();
        events.onClose(code, reason);
      };
      socket.addEventListener(
        'open',
        unlessEnded(() => events.onOpen()),
      );
      socket.addEventListener(
        'message',
        unlessEnded(({ data }) => {
          const frame = parseFrame(String(data), json);
          if (frame === null) events.onHeard();
          else events.onFrame(frame);
        }),
      );
      // Some implementations fire no close event for a socket that never opened.
      socket.addEventListener(
        'error',
        unlessEnded(() => end(1006, 'the connection failed')),
      );
      socket.addEventListener(
        'close',
        unlessEnded(({ code, reason }) => end(code, reason)),
      );
      return {
        send: (command) => socket.send(JSON.stringify(command)),
        close() {
          ended = true;
          socket.close();
        },
      };
    },
  };
}

/**
 * In Firefox the constructor throws if a policy of the page forbids WebSockets. The library would turn that into an
 * unhandled rejection and report nothing.
 */
function catching(WebSocket: WebSocketConstructor, onThrow: (reason: unknown) => void): WebSocketConstructor {
  return new Proxy(WebSocket, {
    construct(target, given: ConstructorParameters<WebSocketConstructor>) {
      try {
        return new target(...given);
      } catch (reason) {
        queueMicrotask(() => onThrow(reason));
        return Object.assign(new EventTarget(), { readyState: 3 }); // CLOSED: the library closes nothing
      }
    },
  });
}
