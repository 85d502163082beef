import type { Json } from '../ground/json.js';
import type { Command, Frame } from '../protocol/index.js';
import type { Connection, ConnectionEvents } from '../session/connection.js';
import {
  type Browser,
  type FromLeader,
  type GroupMessage,
  holdLock,
  openBroadcast,
  type ToLeader,
  WINDOW,
} from './browser.js';
import type { FrameOutput } from './cursor.js';
import { TabGateway } from './tab-gateway.js';

export interface LeaderOptions {
  readonly browser: Browser;
  readonly group: string;
  readonly json: Json;
  /** Opens the connection to the gateway. */
  readonly open: (events: ConnectionEvents) => Connection;
  /** A tab has sent a command while there is no connection. */
  readonly onWanted: () => void;
}

/** The leading tab: a gateway for the tabs of its group, itself included, with a broadcast channel to each of them. */
export class Leader {
  readonly #browser: Browser;
  readonly #json: Json;
  readonly #onWanted: () => void;
  readonly #gateway: TabGateway;
  readonly #group: ReturnType<typeof openBroadcast>;
  readonly #pipes = new Map<string, { post(message: FromLeader): void; close(): void }>();
  #encoded: { readonly frame: Frame; readonly text: string } | null = null;

  constructor({ browser, group, json, open, onWanted }: LeaderOptions) {
    this.#browser = browser;
    this.#json = json;
    this.#onWanted = onWanted;
    this.#gateway = new TabGateway(open);
    this.#group = openBroadcast<GroupMessage>(browser, group, (message) => {
      if ('pipe' in message && !this.#pipes.has(message.pipe)) this.#accept(message.pipe, message.command);
    });
    this.#group.post({ leads: true });
  }

  close(): void {
    this.#group.close();
    for (const pipe of this.#pipes.values()) {
      pipe.post({ ends: true });
      pipe.close();
    }
    this.#pipes.clear();
    this.#gateway.close();
  }

  #accept(name: string, connect: Command): void {
    let unread = 0;
    let full = false;
    const output: FrameOutput = {
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
    const follower = this.#gateway.open(output);
    const pipe = openBroadcast<ToLeader>(this.#browser, name, (message) => {
      if ('command' in message) {
        if (!this.#gateway.connected) this.#onWanted();
        return follower.receive(message.command);
      }
      unread -= message.read;
      if (!full || unread > WINDOW / 4) return;
      full = false;
      follower.drained();
    });
    const gone = () => {
      stopWatching();
      pipe.close();
      this.#pipes.delete(name);
      follower.gone();
    };
    // The tab holds this lock while it listens; the leader gets it when the tab is gone.
    const stopWatching = holdLock(this.#browser, name, gone, gone);
    this.#pipes.set(name, {
      post: (message) => pipe.post(message),
      close() {
        stopWatching();
        pipe.close();
      },
    });
    follower.receive(connect);
  }

  /** Encodes a frame that goes to several tabs once. */
  #encode(frame: Frame): string {
    if (this.#encoded?.frame !== frame) this.#encoded = { frame, text: this.#json.stringify(frame) };
    return this.#encoded.text;
  }
}
