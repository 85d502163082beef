import type { Socket } from 'node:net';
import * as library from 'pg-listen';
import type { Access } from '../access/access.js';
import type { Doorbell } from '../doorbell/doorbell.js';
import type { Logger } from '../ground/logger.js';
import { CONNECT_TIMEOUT, soon } from './session.js';
import { endsInSilence } from './silence.js';

// CommonJS with a `default` of its own, which Node does not unwrap.
const createSubscriber = library.default as unknown as typeof library.default.default;

/** How long an attempt to get the connection back waits, in milliseconds. */
const RETRY_INTERVAL = 250;

/**
 * Of the silence that is borne, the part between two checks; the rest is for the answer. The rest must be more, or a
 * connection that is well would be found silent between two checks.
 */
const BETWEEN_CHECKS = 0.4;

export interface ListenerOptions {
  readonly databaseUrl: string;
  /** The connection is given up when nothing was heard for so long; in milliseconds. */
  readonly silenceTimeout: number;
  readonly logger: Logger;
  readonly doorbell: Pick<Doorbell, 'ring'>;
  readonly access: Pick<Access, 'changed'>;
}

/** What rings when rights have changed (`rowcast.access_changed`), with the subject where there is only one. */
const ACCESS = /^access(?::(.*))?$/s;

/** Hears the doorbell: NOTIFY on `rowcast`, without payload when events were written. */
export class Listener {
  readonly #subscriber: ReturnType<typeof createSubscriber>;
  readonly #doorbell: Pick<Doorbell, 'ring'>;
  readonly #access: Pick<Access, 'changed'>;
  #socket: Socket | undefined;
  #listening = false;
  #stopped = false;
  #connected = false;

  constructor({ databaseUrl, silenceTimeout, logger, doorbell, access }: ListenerOptions) {
    this.#doorbell = doorbell;
    this.#access = access;
    const open = endsInSilence(silenceTimeout * (1 - BETWEEN_CHECKS), () => true);
    const dial = () => {
      this.#socket = open();
      return this.#socket;
    };
    this.#subscriber = createSubscriber(
      {
        connectionString: databaseUrl,
        application_name: 'rowcast listener',
        connectionTimeoutMillis: CONNECT_TIMEOUT,
        // Without it a connection that is only half open is never noticed: the library's checks have no timeout.
        stream: dial,
      },
      {
        retryTimeout: 0, // for ever; the default gives up after three seconds
        retryInterval: () => {
          if (this.#stopped) throw new Error('stopped'); // the only way out of the library's loop
          return RETRY_INTERVAL;
        },
        paranoidChecking: silenceTimeout * BETWEEN_CHECKS,
        parse: (payload) => payload, // the default throws at what is not JSON
      },
    );
    const { events, notifications } = this.#subscriber;
    notifications.on('rowcast', (payload: string | undefined) => this.#notified(payload));
    events.on('reconnect', () => {
      if (this.#connected && !this.#stopped) logger.warn('the connection that listens was lost');
      this.#connected = false;
    });
    events.on('error', (error) => {
      if (this.#stopped) return;
      logger.warn({ err: error }, 'listener');
      // It has a connection and no LISTEN, as on a standby, and would be content: only a new connection tries again.
      const socket = this.#socket;
      setTimeout(() => socket?.destroy(), RETRY_INTERVAL).unref();
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

  #notified(payload = ''): void {
    const access = ACCESS.exec(payload);
    if (access === null) this.#doorbell.ring();
    else this.#access.changed(access[1] ?? null);
  }

  /** LISTEN is in place, for the first time or again: what was notified before was not heard. */
  #ready(): void {
    this.#connected = true;
    this.#doorbell.ring();
    this.#access.changed(null);
  }
}
