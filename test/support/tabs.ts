import { WebSocket } from 'ws';
import { type Client, clientOver } from '../../client/client.js';
import type { WebSocketConstructor } from '../../client/ground/platform.js';
import type { SessionState } from '../../client/index.js';
import type { Scope } from '../../client/session/environment.js';
import type { SessionOptions } from '../../client/session/open.js';
import type { Browser } from '../../client/tabs/browser.js';
import { sharedConnection } from '../../client/tabs/share.js';

interface Request {
  readonly by: Tab;
  readonly hold: () => unknown;
  readonly reject: (reason: Error) => void;
}

/** The lock manager that the tabs of one origin have in common: who asked first holds it first. */
class Locks {
  readonly #queues = new Map<string, Request[]>();

  get names(): string[] {
    return [...this.#queues.keys()];
  }

  request(by: Tab, name: string, signal: AbortSignal, hold: () => unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const request: Request = {
        by,
        reject,
        async hold() {
          await hold();
          resolve();
        },
      };
      queue.push(request);
      signal.addEventListener('abort', () => {
        if (queue.indexOf(request) > 0) this.#withdraw(name, request);
      });
      if (queue.length === 1) void this.#grant(name, request);
    });
  }

  /** The tab has crashed. */
  lose(tab: Tab): void {
    for (const [name, queue] of [...this.#queues]) {
      for (const request of queue.filter(({ by }) => by === tab)) this.#withdraw(name, request);
    }
  }

  async #grant(name: string, request: Request): Promise<void> {
    await Promise.resolve();
    await request.hold();
    this.#withdraw(name, request);
  }

  #withdraw(name: string, request: Request): void {
    const queue = this.#queues.get(name) ?? [];
    const at = queue.indexOf(request);
    if (at < 0) return;
    queue.splice(at, 1);
    request.reject(new Error('aborted'));
    const [next] = queue;
    if (next === undefined) this.#queues.delete(name);
    else if (at === 0) void this.#grant(name, next);
  }
}

/** One tab: a page whose client shares its connection. */
export class Tab {
  readonly client: Client;
  readonly states: SessionState[] = [];
  readonly #locks: Locks;
  readonly #channels = new Set<BroadcastChannel>();
  readonly #page = new EventTarget();
  #crashed = false;

  constructor(locks: Locks, options: SessionOptions, share: string) {
    this.#locks = locks;
    const scope: Scope = {
      addEventListener: this.#page.addEventListener.bind(this.#page),
      removeEventListener: this.#page.removeEventListener.bind(this.#page),
    };
    const direct = { WebSocket: WebSocket as unknown as WebSocketConstructor, ...options };
    this.client = clientOver(
      (events) => sharedConnection(direct, share, events, this.#browser(), scope),
      (state) => this.states.push(state),
    );
  }

  /** As when its process dies: it says nothing any more, and the browser takes its locks. */
  crash(): void {
    this.#crashed = true;
    for (const channel of this.#channels) channel.close();
    this.#locks.lose(this);
    this.client.close();
  }

  /** As when its main thread hangs: it holds what it holds, and neither hears nor says anything. */
  hang(): void {
    this.#crashed = true;
    for (const channel of this.#channels) channel.close();
  }

  /** The page is left, and kept by the browser. */
  hide(): void {
    this.#page.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: true }));
  }

  show(): void {
    this.#page.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
  }

  #browser(): Browser {
    const tab = this;
    const request = (name: string, { signal }: { signal: AbortSignal }, hold: () => unknown) =>
      this.#locks.request(this, name, signal, hold);
    return {
      locks: { request } as unknown as Browser['locks'],
      BroadcastChannel: class extends BroadcastChannel {
        constructor(name: string) {
          super(name);
          tab.#channels.add(this);
        }

        override postMessage(message: unknown): void {
          if (!tab.#crashed) super.postMessage(message);
        }

        override close(): void {
          tab.#channels.delete(this);
          super.close();
        }
      },
    };
  }
}

/** A browser whose tabs are all of one origin. */
export class Tabs {
  readonly #locks = new Locks();
  readonly #tabs = new Set<Tab>();

  open(options: SessionOptions, share = ''): Tab {
    const tab = new Tab(this.#locks, options, share);
    this.#tabs.add(tab);
    return tab;
  }

  /** The locks that are held. */
  get locks(): string[] {
    return this.#locks.names;
  }

  close(): void {
    for (const { client } of this.#tabs) client.close();
    this.#tabs.clear();
  }
}
