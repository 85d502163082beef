import * as library from 'reconnecting-websocket';
import { parseFrame } from '../protocol/index.js';
import { addressOf } from './http.js';
import type { Link, LinkEvents, Rung } from './rung.js';

/** The constructor of a WebSocket: the browser's own, or that of the package `ws`. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocket;

type Library = typeof import('reconnecting-websocket').default;

// The package is CommonJS with a `default` of its own: bundlers and Node disagree on how many of them to unwrap.
const outer = library.default as unknown as Library | { default: Library };
const ReconnectingWebSocket = 'default' in outer ? outer.default : outer;

/** Longer than any visit waits for a handshake: the visit ends it, not the socket. In milliseconds. */
const NEVER = 3_600_000;

/**
 * The WebSocket rung: one disposable socket per visit. It never dials again by itself (`maxRetries: 0`) and never
 * queues: the session decides when the next visit is and what is said first on it.
 */
export function websocketRung(url: string, WebSocket: WebSocketConstructor): Rung {
  const address = addressOf(url, 'ws', '/v1/ws');
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
          const frame = parseFrame(String(data));
          if (frame === null) events.onHeard();
          else events.onFrame(frame);
        }),
      );
      // A socket that never opened gives an error and, from some implementations, no close event.
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
 * Firefox throws where a policy of the page forbids WebSockets. The library would let that pass as a rejection that
 * nobody handles, and say nothing.
 */
function catching(WebSocket: WebSocketConstructor, onThrow: (reason: unknown) => void): WebSocketConstructor {
  return new Proxy(WebSocket, {
    construct(target, given: ConstructorParameters<WebSocketConstructor>) {
      try {
        return new target(...given);
      } catch (reason) {
        queueMicrotask(() => onThrow(reason));
        return Object.assign(new EventTarget(), { readyState: 3 }); // CLOSED: there is nothing to close
      }
    },
  });
}
