import { Backoff } from './ground/backoff.js';
import { type Clock, systemClock } from './ground/clock.js';
import { RowcastError } from './ground/error.js';
import { call } from './ground/notify.js';
import type { PollingOptions } from './polling/settings.js';
import { type Polling, PollingShell } from './polling/shell.js';
import type { Carrier, SessionEvents, SessionState } from './session/connection.js';
import { BACKOFF, type ConnectionOptions, directCarrier, rungsOf, tokenOf } from './session/open.js';
import { type SubscribeOptions, Subscription } from './subscription/subscription.js';
import { loadedCarrier } from './tabs/load.js';
import type { TransportName } from './transport/rung.js';

export interface ClientOptions extends ConnectionOptions {
  /** The state has changed; `connected` comes again where another transport took over. */
  readonly onState?: (state: SessionState, error?: RowcastError) => void;
  /** Tabs of one origin share one connection: all that say `true`, or all that give the same name. */
  readonly share?: boolean | string;
}

export interface Client {
  readonly state: SessionState;
  /** What the client is connected by; null while it is not. */
  readonly transport: TransportName | null;
  /** Follows a channel, `<stream>:<key>`. Throws `already_subscribed` while this client follows it already. */
  subscribe(channel: string, options?: SubscribeOptions): Subscription;
  /** Ends every subscription and the connection. Nothing of the client runs on. */
  close(): void;
}

/** With `poll` alone the client keeps no connection: it asks from time to time. */
export interface PollingClientOptions extends Omit<ClientOptions, 'transports'> {
  readonly transports: readonly ['poll'];
  readonly polling?: PollingOptions;
}

export interface PollingClient extends Client, Polling {}

/** A client of one gateway. It connects at the first subscription and reconnects by itself from then on. */
export function createClient(options: PollingClientOptions): PollingClient;
export function createClient(options: ClientOptions): Client;
export function createClient(options: ClientOptions & Pick<PollingClientOptions, 'polling'>): Client {
  if (String(options.transports) === 'poll') return pollingClient(options, options.polling);
  const { share = false, onState } = options;
  if (share === false) return clientOver((events) => directCarrier(options, events), onState);
  return clientOver((events) => loadedCarrier(options, share === true ? '' : share, events), onState);
}

function pollingClient(options: ClientOptions, polling: PollingOptions = {}): PollingClient {
  rungsOf(options); // throws where there is no fetch
  const { url, fetch = globalThis.fetch } = options;
  let shell!: PollingShell;
  const client = clientOver((events) => {
    shell = new PollingShell({
      url,
      fetch: (...request) => fetch(...request),
      token: tokenOf(options),
      polling,
      events,
    });
    return shell;
  }, options.onState);
  return Object.assign(client, {
    stats: () => shell.stats(),
    pause: () => shell.pause(),
    resume: () => shell.resume(),
    refresh: () => shell.refresh(),
  });
}

/** The subscriptions of one client, over whatever carries them. */
export function clientOver(
  makeCarrier: (events: SessionEvents) => Carrier,
  onState: ClientOptions['onState'],
  clock: Clock = systemClock,
): Client {
  const subscriptions = new Map<string, Subscription>();

  const carrier = makeCarrier({
    onState(state, error) {
      call(onState, state, error);
      for (const subscription of [...subscriptions.values()]) {
        if (state === 'closed') subscription.fail(error ?? new RowcastError('unavailable', 'the client was closed'));
        else subscription.onConnection(state === 'connected');
      }
    },
    onFrame(frame) {
      if ('channel' in frame) subscriptions.get(frame.channel)?.onFrame(frame);
    },
  });

  return {
    get state() {
      return carrier.state;
    },
    get transport() {
      return carrier.transport;
    },
    subscribe(channel, options = {}) {
      if (carrier.state === 'closed') throw new RowcastError('unavailable', 'the client is closed');
      if (subscriptions.has(channel)) throw new RowcastError('already_subscribed');
      const subscription = new Subscription(
        {
          get connected() {
            return carrier.state === 'connected';
          },
          clock,
          backoff: () => new Backoff(BACKOFF),
          request: (command, onReply) => carrier.request(command, onReply),
          forget: (closed) => {
            if (subscriptions.get(channel) === closed) subscriptions.delete(channel);
          },
        },
        channel,
        options,
      );
      if (subscription.state !== 'closed') subscriptions.set(channel, subscription);
      carrier.start();
      return subscription;
    },
    close() {
      for (const subscription of [...subscriptions.values()]) subscription.close();
      carrier.close();
    },
  };
}
