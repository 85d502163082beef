import { Backoff } from './backoff.js';
import { call } from './call.js';
import { systemClock } from './clock.js';
import { platformEnvironment } from './environment.js';
import { RowcastError } from './error.js';
import type { Frame } from './protocol/index.js';
import { Session, type SessionState } from './session.js';
import { type SubscribeOptions, Subscription } from './subscription.js';
import { type WebSocketConstructor, websocketRung } from './transport/websocket.js';

export interface ClientOptions {
  /** Where the gateway is: `http://127.0.0.1:4400`. */
  readonly url: string;
  /** A token, or where to get one: asked anew for each connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** Needed where the platform has no WebSocket of its own, as in Node 20: that of the package `ws`. */
  readonly WebSocket?: WebSocketConstructor;
  readonly onState?: (state: SessionState, error?: RowcastError) => void;
}

export interface Client {
  readonly state: SessionState;
  /** Follows a channel, `<stream>:<key>`. Throws `already_subscribed` while this client follows it already. */
  subscribe(channel: string, options?: SubscribeOptions): Subscription;
  /** Ends every subscription and the connection. Nothing of the client runs on. */
  close(): void;
}

/** In milliseconds. */
const OPEN_TIMEOUT = 10_000;
const BACKOFF = { base: 250, cap: 30_000 };

/** A client of one gateway. It connects at the first subscription and reconnects by itself from then on. */
export function createClient({ url, token, WebSocket = globalThis.WebSocket, onState }: ClientOptions): Client {
  if (WebSocket === undefined)
    throw new TypeError('no WebSocket on this platform: pass { WebSocket } from the package ws');
  const subscriptions = new Map<string, Subscription>();

  const session = new Session({
    rung: websocketRung(url, WebSocket, OPEN_TIMEOUT),
    token: async () => (typeof token === 'function' ? token() : token),
    clock: systemClock,
    backoff: new Backoff(BACKOFF),
    environment: platformEnvironment(systemClock),
    events: {
      onState(state, error) {
        call(onState, state, error);
        for (const subscription of [...subscriptions.values()]) {
          if (state === 'closed') subscription.fail(error ?? new RowcastError('unavailable', 'the client was closed'));
          else subscription.onConnection(state === 'connected');
        }
      },
      onFrame(frame: Frame) {
        if ('channel' in frame) subscriptions.get(frame.channel)?.onFrame(frame);
      },
    },
  });

  return {
    get state() {
      return session.state;
    },
    subscribe(channel, options = {}) {
      if (session.state === 'closed') throw new RowcastError('unavailable', 'the client is closed');
      if (subscriptions.has(channel)) throw new RowcastError('already_subscribed');
      const subscription = new Subscription(
        {
          get connected() {
            return session.state === 'connected';
          },
          clock: systemClock,
          backoff: () => new Backoff(BACKOFF),
          request: (command, onReply) => session.request(command, onReply),
          forget: (closed) => {
            if (subscriptions.get(channel) === closed) subscriptions.delete(channel);
          },
        },
        channel,
        options,
      );
      if (subscription.state !== 'closed') subscriptions.set(channel, subscription);
      session.start();
      return subscription;
    },
    close() {
      for (const subscription of [...subscriptions.values()]) subscription.close();
      session.close();
    },
  };
}
