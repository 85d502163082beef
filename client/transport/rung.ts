/** What a rung tells its session. After `onClose` it says nothing more. */
export interface LinkEvents {
  onOpen(): void;
  onText(text: string): void;
  /** `code`: a WebSocket close code, or 1006 where there was none. */
  onClose(code: number, reason: string): void;
}

/** One connection. */
export interface Link {
  send(text: string): void;
  /** Ends the connection; `onClose` need not follow. */
  close(): void;
}

/** One way down to the gateway: a rung of the ladder. */
export interface Rung {
  readonly name: 'websocket';
  open(events: LinkEvents): Link;
}
