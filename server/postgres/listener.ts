/**
 * Receives the notifications of the doorbell: NOTIFY on `rowcast`, without a payload for new events, with one for a change of
 * access. After each connection it rings and invalidates all access decisions, because notifications may have been missed.
 */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import * as library from 'pg-listen';
import type { Access } from '../access/access.js';
import type { Doorbell } from '../doorbell/doorbell.js';
import type { Logger } from '../ground/logger.js';
import type { DatabaseUrl } from '../settings/database-url.js';
import { connectOptions } from './connect-options.js';
import { ConnectionHealth } from './connection-health.js';
import { CONNECT_TIMEOUT, withGrace } from './session.js';
import { endsInSilence } from './silence.js';

// A CommonJS module with its own `default`, which Node does not unwrap.
const createSubscriber = library.default as unknown as typeof library.default.default;

/** Delay before an attempt to reconnect, in milliseconds. */
const RETRY_INTERVAL = 250;

/**
 * The time between two checks, as a fraction of the silence timeout; the rest is the time for the reply. The rest must be
 * longer, otherwise a working connection would time out between two checks.
 */
const BETWEEN_CHECKS = 0.4;

export interface ListenerOptions {
  readonly databaseUrl: DatabaseUrl;
  /** The connection is closed after this time without a byte from the server, in milliseconds. */
  readonly silenceTimeout: number;
  readonly logger: Logger;
  readonly health?: ConnectionHealth;
  readonly doorbell: Pick<Doorbell, 'ring'>;
  readonly access: Pick<Access, 'changed'>;
}

/** The payload for a change of access (`rowcast.access_changed`), with the hash of the subject if it concerns only one. */
const ACCESS = /^access(?::(.*))?$/s;

/**
 * Passes the errors of a connection to `onError`. The library retries silently, so that only the connection object of the
 * driver knows the reason, which is `this` in the call of `stream`.
 */
function withErrors(dial: () => Socket, onError: (error: unknown) => void): () => Socket {
  return function stream(this: unknown): Socket {
    if (this instanceof EventEmitter) this.on('errorMessage', onError).on('error', onError);
    return dial();
  };
}

/** The name of the session in the log and in `/readyz`. */
const SESSION = 'listener';

export class Listener {
  readonly #subscriber: ReturnType<typeof createSubscriber>;
  readonly #doorbell: Pick<Doorbell, 'ring'>;
  readonly #access: Pick<Access, 'changed'>;
  readonly #health: ConnectionHealth;
  #socket: Socket | undefined;
  /** The latest error of the established connection, which explains its end. */
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
        // Detects half-open connections: the checks of the library have no timeout.
        stream: withErrors(dial, (error) => this.#failed(error)),
      },
      {
        retryTimeout: 0, // retry for ever; the default is three seconds
        retryInterval: () => {
          if (this.#stopped) throw new Error('stopped'); // the only way to end the retry loop of the library
          return RETRY_INTERVAL;
        },
        paranoidChecking: silenceTimeout * BETWEEN_CHECKS,
        parse: (payload) => payload, // the default throws unless it is JSON
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
      // Connected but without LISTEN, as on a standby, the library would not retry. Closing the connection makes it.
      const socket = this.#socket;
      setTimeout(() => socket?.destroy(), RETRY_INTERVAL).unref();
    });
    events.on('connected', () => {
      // It may reconnect while it is being stopped.
      if (this.#stopped) void this.#subscriber.close();
      // The first `connected` event is emitted before LISTEN.
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
    await withGrace(this.#subscriber.close());
  }

  /** An error of the established connection, or of the one that is being opened. */
  #failed(error: unknown): void {
    if (this.#connected) this.#reason = error;
    else if (!this.#stopped && this.#listening) this.#health.refused(SESSION, error);
  }

  #notified(payload = ''): void {
    const access = ACCESS.exec(payload);
    if (access === null) this.#doorbell.ring();
    else this.#access.changed(access[1] ?? null);
  }

  /** LISTEN is active, for the first time or again. Earlier notifications were missed. */
  #ready(): void {
    this.#connected = true;
    this.#reason = undefined;
    this.#health.connected(SESSION);
    this.#doorbell.ring();
    this.#access.changed(null);
  }
}
