import * as library from 'pg-listen';
import type { Logger } from '../logger.js';
import { CONNECT_TIMEOUT, soon } from './session.js';

// CommonJS with a `default` of its own, which Node does not unwrap.
const createSubscriber = library.default as unknown as typeof library.default.default;

/** How often the connection is tried, and how long an attempt to get it back waits; in milliseconds. */
const CHECK_INTERVAL = 5_000;
const RETRY_INTERVAL = 250;

export interface ListenerOptions {
  readonly databaseUrl: string;
  readonly queryTimeout: number;
  readonly logger: Logger;
  /** A doorbell rang. */
  readonly onRing: () => void;
  /** LISTEN is in place, for the first time or again: what rang before is to be read now. */
  readonly onConnected: () => void;
}

/** Hears the doorbell: NOTIFY on `rowcast`, without payload. */
export class Listener {
  readonly #subscriber: ReturnType<typeof createSubscriber>;
  readonly #onConnected: () => void;
  #listening = false;
  #stopped = false;
  #connected = false;

  constructor({ databaseUrl, queryTimeout, logger, onRing, onConnected }: ListenerOptions) {
    this.#onConnected = onConnected;
    this.#subscriber = createSubscriber(
      {
        connectionString: databaseUrl,
        application_name: 'rowcast listener',
        connectionTimeoutMillis: CONNECT_TIMEOUT,
        // Without it a connection that is only half open is never noticed.
        query_timeout: queryTimeout,
      },
      {
        retryTimeout: 0, // for ever; the default gives up after three seconds
        retryInterval: () => {
          if (this.#stopped) throw new Error('stopped'); // the only way out of the library's loop
          return RETRY_INTERVAL;
        },
        paranoidChecking: CHECK_INTERVAL,
        parse: (payload) => payload, // the default throws at what is not JSON
      },
    );
    const { events, notifications } = this.#subscriber;
    notifications.on('rowcast', onRing);
    events.on('reconnect', () => {
      this.#connected = false;
    });
    events.on('error', (error) => {
      if (!this.#stopped) logger.warn({ err: error }, 'listener');
    });
    events.on('connected', () => {
      // It may come back while it is being stopped.
      if (this.#stopped) void this.#subscriber.close();
      // The first time it says so before it listens.
      else if (this.#listening) this.#ready();
    });
  }

  get connected(): boolean {
    return this.#connected;
  }

  async start(): Promise<void> {
    await this.#subscriber.connect();
    await this.#subscriber.listenTo('rowcast');
    this.#listening = true;
    this.#ready();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await soon(this.#subscriber.close());
  }

  #ready(): void {
    this.#connected = true;
    this.#onConnected();
  }
}
