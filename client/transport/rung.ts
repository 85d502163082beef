import type { Command, Frame } from '../protocol/index.js';

/** What a rung tells its visitor, never before `open` has returned. After `onClose` it says nothing more. */
export interface LinkEvents {
  /** Commands may be sent. */
  onOpen(): void;
  onFrame(frame: Frame): void;
  /** Something came that is no frame of this version, a comment perhaps: the other side lives. */
  onHeard(): void;
  /** `code`: a WebSocket close code, or 1006 where there was none. */
  onClose(code: number, reason: string): void;
}

/** One connection. */
export interface Link {
  send(command: Command): void;
  /** Ends the connection; `onClose` need not follow. */
  close(): void;
}

/** `tabs` leads to another tab of the browser, and is no rung of the ladder to the gateway. */
export type TransportName = 'websocket' | 'sse' | 'poll' | 'tabs';

/** One way down to the gateway: a rung of the ladder. */
export interface Rung {
  readonly name: TransportName;
  /** Proxies may hold back what comes this way: it is proven only by `onHeard` after `connected`. */
  readonly mayBuffer?: boolean;
  open(events: LinkEvents): Link;
}
