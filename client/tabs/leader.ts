import type { Command, Frame } from '../protocol/index.js';
import type { Carrier, SessionEvents } from '../session/connection.js';
import { type Browser, type Call, type Down, holdLock, openBroadcast, type Up, WINDOW } from './browser.js';
import type { Outlet } from './cursor.js';
import { Relay } from './relay.js';

export interface LeaderOptions {
  readonly browser: Browser;
  readonly group: string;
  readonly carry: (events: SessionEvents) => Carrier;
  /** A tab wants something while there is no connection. */
  readonly onWanted: () => void;
}

/** The tab that leads: its relay, and a pipe to each tab of the group, to itself as well. */
export class Leader {
  readonly #options: LeaderOptions;
  readonly #relay: Relay;
  readonly #hall: ReturnType<typeof openBroadcast>;
  readonly #pipes = new Map<string, { post(message: Down): void; close(): void }>();
  #encoded: { readonly frame: Frame; readonly text: string } | null = null;

  constructor(options: LeaderOptions) {
    const { browser, group, carry } = options;
    this.#options = options;
    this.#relay = new Relay(carry);
    this.#hall = openBroadcast<Call>(browser, group, (call) => {
      if ('pipe' in call && !this.#pipes.has(call.pipe)) this.#open(call.pipe, call.command);
    });
    this.#hall.post({ leads: true });
  }

  close(): void {
    this.#hall.close();
    for (const pipe of this.#pipes.values()) {
      pipe.post({ ends: true });
      pipe.close();
    }
    this.#pipes.clear();
    this.#relay.close();
  }

  #open(name: string, connect: Command): void {
    const { browser, onWanted } = this.#options;
    let unread = 0;
    let full = false;
    const outlet: Outlet = {
      get writable() {
        return !full;
      },
      send: (frame) => {
        const text = this.#encode(frame);
        unread += text.length;
        full ||= unread >= WINDOW;
        pipe.post({ text });
      },
    };
    const port = this.#relay.open(outlet);
    const pipe = openBroadcast<Up>(browser, name, (message) => {
      if ('command' in message) {
        if (!this.#relay.connected) onWanted();
        return port.receive(message.command);
      }
      unread -= message.read;
      if (!full || unread > WINDOW / 4) return;
      full = false;
      port.drained();
    });
    const gone = () => {
      stopWatching();
      pipe.close();
      this.#pipes.delete(name);
      port.gone();
    };
    // The tab holds this lock for as long as it listens, however it ends.
    const stopWatching = holdLock(browser, name, gone, gone);
    this.#pipes.set(name, {
      post: (message) => pipe.post(message),
      close() {
        stopWatching();
        pipe.close();
      },
    });
    port.receive(connect);
  }

  /** A frame that goes to several tabs is encoded once. */
  #encode(frame: Frame): string {
    if (this.#encoded?.frame !== frame) this.#encoded = { frame, text: JSON.stringify(frame) };
    return this.#encoded.text;
  }
}
