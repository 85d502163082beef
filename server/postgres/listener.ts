import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import * as library from 'pg-listen';
import type { Access } from '../access/access.js';
import type { Doorbell } from '../doorbell/doorbell.js';
import type { Logger } from '../ground/logger.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
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
  readonly health?: ConnectionHealth;
  readonly doorbell: Pick<Doorbell, 'ring'>;
  readonly access: Pick<Access, 'changed'>;
}

/** What rings when rights have changed (`rowcast.access_changed`), with the subject where there is only one. */
const ACCESS = /^access(?::(.*))?$/s;

/**
 * The library retries without a word: the reason is known to the connection of the driver alone, which calls `stream` as a
 * method of its own.
 */
function withErrors(dial: () => Socket, onError: (error: unknown) => void): () => Socket {
  return function stream(this: unknown): Socket {
    if (this instanceof EventEmitter) this.on('errorMessage', onError).on('error', onError);
    return dial();
  };
}

/** In the log and in `/readyz`. */
const SESSION = 'listener';

/** Hears the doorbell: NOTIFY on `rowcast`, without payload when events were written. */
export class Listener {
  readonly #subscriber: ReturnType<typeof createSubscriber>;
  readonly #doorbell: Pick<Doorbell, 'ring'>;
  readonly #access: Pick<Access, 'changed'>;
  readonly #health: ConnectionHealth;
  #socket: Socket | undefined;
  /** The latest error of the connection that stands: it explains its end. */
  #reason: unknown;
  #listening = false;
  #stopped = false;
  #connected = false;

  constructor(options: ListenerOptions) {
    const { databaseUrl, silenceTimeout, logger, health = new ConnectionHealth(logger), doorbell, access } = options;
    this.#health = health;
    this.#doorbell = doorbell;
    this.#access = access;
    const open = endsInSilence(silenceTimeout * (1 - BETWEEN_CHECKS), () => true);
    const dial = () => {
      this.#socket = open();
      return this.#socket;
    };
    this.#subscriber = createSubscriber(
      {
        ...connectOptions(databaseUrl),
        application_name: 'rowcast listener',
        connectionTimeoutMillis: CONNECT_TIMEOUT,
        // Without it a connection that is only half open is never noticed: the library's checks have no timeout.
        stream: withErrors(dial, (error) => this.#failed(error)),
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
      if (this.#connected && !this.#stopped) {
        health.lost(SESSION, this.#reason ?? new Error('the server has closed the connection'));
      }
      this.#connected = false;
    });
    events.on('error', (error) => {
      if (this.#stopped) return;
      health.refused(SESSION, error);
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

  /** An error of the connection that stands, or of the one that is being opened. */
  #failed(error: unknown): void {
    if (this.#connected) this.#reason = error;
    else if (!this.#stopped && this.#listening) this.#health.refused(SESSION, error);
  }

  #notified(payload = ''): void {
    const access = ACCESS.exec(payload);
    if (access === null) this.#doorbell.ring();
    else this.#access.changed(access[1] ?? null);
  }

  /** LISTEN is in place, for the first time or again: what was notified before was not heard. */
  #ready(): void {
    this.#connected = true;
    this.#reason = undefined;
    this.#health.stands(SESSION);
    this.#doorbell.ring();
    this.#access.changed(null);
  }
}
