import type { Command, Frame } from '../protocol/index.js';

/** What a link reports. Nothing before `open` has returned, and nothing after `onClose`. */
export interface LinkEvents {
  /** Commands may be sent. */
  onOpen(): void;
  onFrame(frame: Frame): void;
  /** Data arrived that is no frame of this version, such as a comment. It proves that the gateway is there. */
  onHeard(): void;
  /** `code`: a WebSocket close code; 1006 if the transport has none. */
  onClose(code: number, reason: string): void;
}

/** One connection, as the client holds it. The gateway holds its end as a `Transport` (server/ports/door.ts). */
export interface Link {
  send(command: Command): void;
  /** Closes the connection; `onClose` need not follow. */
  close(): void;
}

/** `tabs`: another tab of the browser has the connection to the gateway. */
export type TransportName = 'websocket' | 'sse' | 'poll' | 'tabs';

/** One way to the gateway, a rung of the ladder. Its counterpart at the gateway is a door. */
export interface Rung {
  readonly name: TransportName;
  /** A proxy may hold back a response of this transport, so it is proven only by `onHeard` after `connected`. */
  readonly mayBuffer?: boolean;
  open(events: LinkEvents): Link;
}
