/** A client: its subscriptions over one connection, which is a session, a shared one, or a poller. */
import { RowcastError } from './ground/error.js';
import { type Json, NUMBERS } from './ground/json.js';
import { notify } from './ground/notify.js';
import { checkNames } from './ground/options.js';
import type { Poller } from './polling/poller.js';
import { checkPolling, NO_STATS, type PollingOptions, type PollingStats } from './polling/settings.js';
import type { Row } from './protocol/index.js';
import type {
  Connection,
  ConnectionEvents,
  ConnectionHealth,
  SessionState,
  StateListener,
} from './session/connection.js';
import { LazyConnection } from './session/lazy-connection.js';
import { type ConnectionOptions, fetchOf, openSession, rungsOf, tokenOf } from './session/open.js';
import { SharedChannels, type Timing } from './subscription/shared-channels.js';
import type { AnyChannel, AnyStreams, StreamTypes } from './subscription/streams.js';
import {
  ChannelSubscription,
  type OpenSubscription,
  type SubscribeOptions,
  type Subscription,
} from './subscription/subscription.js';
import type { TransportName } from './transport/rung.js';

export interface ClientOptions extends ConnectionOptions {
  /** Called when the state has changed. `connected` is repeated when another transport has taken over. */
  readonly onState?: StateListener | undefined;
  /** One connection for all tabs of an origin that pass `true`, or the same name. */
  readonly share?: boolean | string | undefined;
}

/** `S`: the rows of each stream, as `rowcast types` writes them. */
export interface Client<S extends StreamTypes<S> = AnyStreams> extends ConnectionHealth {
  /** Never set: tells functions that take a client what `S` is. */
  readonly '~streams'?: S;
  /** For functions that take a client and make requests of their own. */
  readonly '~options'?: ClientOptions;
  readonly state: SessionState;
  /** The transport in use; null while not connected. */
  readonly transport: TransportName | null;
  /**
   * Subscribes to a channel, `<stream>:<key>`. Several subscriptions to one channel share one subscription at the
   * gateway; each has its own `since`, position and listeners. `R`: what you know of the rows; nothing checks it.
   */
  subscribe<R extends object = Row>(channel: AnyChannel<S>, options?: SubscribeOptions<R>): Subscription<R>;
  subscribe<N extends keyof S & string>(
    channel: `${N}:${string}`,
    options?: SubscribeOptions<S[N]>,
  ): Subscription<S[N]>;
  /** Calls `listener` with each change of the state, as `onState`. The returned function ends that. */
  watch(listener: StateListener): () => void;
  /** Connects anew if there is a connection; else makes the next attempt now, or as early as the gateway allows. */
  reconnect(): void;
  /** Ends all subscriptions and the connection. No timer, socket or listener of the client remains. */
  close(): void;
}

/** With `poll` as its only transport a client keeps no connection, and polls on an interval. */
export interface PollingClientOptions extends Omit<ClientOptions, 'transports'> {
  readonly transports: readonly ['poll'];
  readonly polling?: PollingOptions | undefined;
}

export interface PollingClient<S extends StreamTypes<S> = AnyStreams> extends Client<S> {
  stats(): PollingStats;
  /** Makes no request until `resume`. */
  pause(): void;
  resume(): void;
  /** Makes a request now, for finished executions as well; while paused, once. */
  refresh(): void;
}

const OPTIONS = [
  'url',
  'token',
  'transports',
  'share',
  'polling',
  'WebSocket',
  'fetch',
  'numbers',
  'times',
  'onState',
] satisfies (keyof ClientOptions | keyof PollingClientOptions)[];

/**
 * A client of a gateway. It connects with the first subscription, and reconnects by itself. Throws `TypeError` for an
 * option that does not exist, and if the platform has none of the transports.
 */
export function createClient<S extends StreamTypes<S> = AnyStreams>(options: PollingClientOptions): PollingClient<S>;
export function createClient<S extends StreamTypes<S> = AnyStreams>(options: ClientOptions): Client<S>;
export function createClient(options: ClientOptions & Pick<PollingClientOptions, 'polling'>): Client {
  checkNames('createClient', options, OPTIONS);
  rungsOf(options); // throws if the other options are wrong, before anything is loaded
  const { share = false, transports, polling = {}, numbers = 'number', onState } = options;
  if (!NUMBERS.includes(numbers)) throw new TypeError(`numbers: one of ${NUMBERS}`);
  const made = (client: Client) => Object.assign(client, { '~options': options });
  if (String(transports) === 'poll') return made(pollingClient(options, polling));
  if (share === false && numbers === 'number')
    return made(clientOver((events) => openSession(options, events), onState));
  const load = async (events: ConnectionEvents) => {
    const own = { ...options, json: await jsonOf(options) };
    if (share === false) return openSession(own, events);
    return (await import('./tabs/share.js')).sharedConnection(own, share === true ? '' : share, events);
  };
  return made(clientOver((events) => new LazyConnection(() => load(events), events), onState));
}

/** What reads the frames. */
export async function jsonOf({ numbers = 'number' }: Pick<ClientOptions, 'numbers'>): Promise<Json> {
  return numbers === 'number' ? JSON : (await import('./ground/lossless.js')).losslessJson(numbers);
}

function pollingClient(options: ClientOptions, polling: PollingOptions): PollingClient {
  checkPolling(polling);
  const { url, onState } = options;
  const fetch = fetchOf(options) as NonNullable<ConnectionOptions['fetch']>; // `rungsOf` has found one
  let poller!: LazyConnection<Poller>;
  const client = clientOver((events) => {
    poller = new LazyConnection(async () => {
      const { makePoller } = await import('./polling/service.js');
      return makePoller({ url, fetch, json: await jsonOf(options), token: tokenOf(options), polling, events });
    }, events);
    return poller;
  }, onState);
  let paused = false;
  const setPaused = (value: boolean) => {
    paused = value;
    poller.use((loaded) => (value ? loaded.pause() : loaded.resume()));
  };
  return Object.assign(client, {
    stats: () => poller.loaded?.stats ?? { ...NO_STATS, paused },
    pause: () => setPaused(true),
    resume: () => setPaused(false),
    refresh: () => poller.use((loaded) => loaded.refresh()),
  });
}

/** A client over a given connection. */
export function clientOver(
  open: (events: ConnectionEvents) => Connection,
  onState?: StateListener,
  timing?: Timing,
): Client {
  const listeners = new Set<StateListener>(onState && [onState]);
  const subscriptions = new Set<OpenSubscription>();
  const channels = new SharedChannels(() => connection, timing);
  const connection: Connection = open({
    onState(state, error) {
      channels.onState(() => {
        for (const listener of [...listeners]) {
          // An earlier listener may have removed it, or have changed the state, which the others were told already.
          if (listeners.has(listener) && connection.state === state) notify(listener, state, error);
        }
        if (state !== 'closed') return;
        const reason = error ?? new RowcastError('unavailable', 'the client is closed');
        for (const subscription of [...subscriptions]) subscription.fail(reason);
      });
    },
    onFrame: (frame) => channels.onFrame(frame),
  });

  return {
    get state() {
      return connection.state;
    },
    get transport() {
      return connection.transport;
    },
    get heardAt() {
      return connection.heardAt;
    },
    get roundTrip() {
      return connection.roundTrip;
    },
    get retryAt() {
      return connection.retryAt;
    },
    subscribe<R extends object>(channel: string, options: SubscribeOptions<R> = {}) {
      if (connection.state === 'closed') throw new RowcastError('unavailable', 'the client is closed');
      const subscription = new ChannelSubscription(channel, options, channels, subscriptions);
      if (subscription.state !== 'closed') connection.start();
      return subscription;
    },
    watch(listener) {
      const own: StateListener = (state, error) => listener(state, error);
      listeners.add(own);
      return () => listeners.delete(own);
    },
    reconnect: () => connection.reconnect(),
    close() {
      for (const subscription of [...subscriptions]) subscription.close();
      connection.close();
    },
  };
}
