/**
 * One client of the gateway, over any transport: authentication, the expiry and refresh of its token, and the replies to
 * its commands. It owns the subscriptions of the client. A door makes it, passes frames to it, and reports when the
 * transport drains or closes. After the expiry of the token nothing is sent until a refresh (I5).
 */
import { type ErrorCode, errors, type Frame, isErrorCode, type Limits, PROTOCOL } from '@rowcast/client/protocol';
import type { Logger } from '../ground/logger.js';
import { nothing } from '../ground/nothing.js';
import { asRefusal, Refusal } from '../ground/refusal.js';
import type { Hub } from '../hub/hub.js';
import type { Clock } from '../ports/clock.js';
import type { Positions, Transport } from '../ports/door.js';
import type { Authenticator, Credentials, Principal, Rights } from '../ports/principal.js';
import { type ParsedCommand, parseCommand, RefusedFrame, readCommand } from './commands.js';
import { type PrincipalLimits, Subscriptions, type SubscriptionsOptions } from './subscriptions.js';

export interface ConnectionOptions {
  readonly id: string;
  readonly transport: Transport;
  readonly hub: Pick<Hub, 'hold' | 'release' | 'whenReadable'>;
  readonly access: Rights;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: Limits;
  /** Sent to the client, in milliseconds. */
  readonly heartbeat: number;
  /** How long the client may take to send `connect`, in milliseconds. */
  readonly connectTimeout: number;
  /** How long a connection is kept after its token has expired, in milliseconds. */
  readonly refreshTimeout: number;
  /** Reads the state of every channel from the table, even if it is in memory, so that everything committed is included. */
  readonly fresh?: boolean;
  /** See `SubscriptionsOptions`. */
  readonly waits?: boolean;
  /** The token of the request that opened the connection, for a `connect` without a token or ticket. */
  readonly token?: string | undefined;
  /** Undefined for connections of this process. A `subscribe` that is refused as forbidden counts as a request. */
  readonly principalLimits?: PrincipalLimits;
  /** See `SubscriptionsOptions`. */
  readonly delivered?: SubscriptionsOptions['delivered'];
}

/** The close code of RFC 6455 for what is too large to be read. */
const TOO_LARGE = 1009;

/** The number of malformed frames after which the connection is closed: the client is broken, or hostile. */
const MAX_REFUSED = 100;

const SETTLED = Promise.resolve();

export class Connection {
  readonly #options: ConnectionOptions;
  /** Null until the client is authenticated. */
  #principal: Principal | null = null;
  #subscriptions: Subscriptions | null = null;
  #connecting = false;
  #refreshing = SETTLED;
  #closed = false;
  #refused = 0;
  #cancelTimer: () => void;
  #leave: (() => void) | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#cancelTimer = options.clock.after(options.connectTimeout, () => this.close('connect_timeout'));
  }

  get subscriptions(): number {
    return this.#subscriptions?.size ?? 0;
  }

  /** Subscriptions with events that wait until the client reads. */
  get stalled(): number {
    return this.#subscriptions?.stalled ?? 0;
  }

  get id(): string {
    return this.#options.id;
  }

  /** The subject of the principal; null until the client is authenticated. */
  get subject(): string | null {
    return this.#principal?.subject ?? null;
  }

  /** Whether a `connect` was received, which has not failed. */
  get connecting(): boolean {
    return this.#connecting;
  }

  /** Whether the connection is closed: nothing is sent, and commands are ignored. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether the send buffer has room. Commands from other requests are refused while it has none. */
  get writable(): boolean {
    return this.#options.transport.writable;
  }

  /** Whether events are available that were not sent yet, or a `subscribe` has no reply yet. */
  get behind(): boolean {
    return this.#subscriptions?.behind ?? false;
  }

  /** The position of each subscription after the last event sent, as a `since` to continue from. */
  positions(): Positions {
    return this.#subscriptions?.positions() ?? [];
  }

  /** Handles a text frame. */
  receive(text: string): Promise<void> {
    return this.#handle(() => parseCommand(text));
  }

  /** Handles a command that is a JSON value. */
  take(value: unknown): Promise<void> {
    return this.#handle(() => readCommand(value));
  }

  async #handle(read: () => ParsedCommand): Promise<void> {
    if (this.#closed) return;
    let id: number | undefined;
    try {
      const command = read();
      id = command.id;
      await this.#answer(command);
    } catch (error) {
      this.#refuse(error, id);
    }
  }

  /** Refuses a frame above the limit, which was not parsed. */
  tooLarge(): void {
    const { maxFrameBytes } = this.#options.limits;
    this.#refuse(new Refusal('frame_too_large', `a command may have at most ${maxFrameBytes} bytes`));
  }

  /** Refuses a binary frame. */
  binary(): void {
    this.#refuse(new RefusedFrame('invalid_frame', 'a command must be a text frame'));
  }

  /** The transport is writable again. */
  drained(): void {
    this.#subscriptions?.pump();
  }

  /** Closes the connection with an error, which the client receives. */
  close(code: ErrorCode, message: string = errors[code].meaning): void {
    if (this.#closed) return;
    const { close = code === 'frame_too_large' ? TOO_LARGE : 4000 } = errors[code] as { close?: number };
    this.gone();
    this.#options.transport.close(close, message);
  }

  /** The transport has closed. Releases all subscriptions, rights and timers. */
  gone(): void {
    this.#closed = true;
    this.#cancelTimer();
    this.#leave?.();
    this.#leave = null;
    this.#subscriptions?.close();
  }

  #send(frame: Frame): void {
    if (!this.#closed) this.#options.transport.send(frame);
  }

  #answer(command: ParsedCommand): Promise<void> | void {
    if (command.type === 'connect') return this.#connect(command);
    if (command.type === 'ping') return this.#send({ type: 'pong', id: command.id });
    const subscriptions = this.#subscriptions;
    if (subscriptions === null) throw new Refusal('not_connected');
    switch (command.type) {
      case 'refresh':
        // One after the other: the rights of one token must not be combined with the expiry of another.
        this.#refreshing = this.#refreshing.catch(() => {}).then(() => this.#refresh(subscriptions, command));
        return this.#refreshing;
      case 'unsubscribe':
        return subscriptions.unsubscribe(command.id, command.channel);
      case 'subscribe':
        if (!subscriptions.paused) return subscriptions.subscribe(command);
        // Refused without closing the connection, because a new token may be on its way.
        return this.#send({
          type: 'error',
          id: command.id,
          code: 'token_expired',
          message: errors.token_expired.meaning,
        });
    }
  }

  async #connect({ id, protocol, token, ticket, times }: Extract<ParsedCommand, { type: 'connect' }>): Promise<void> {
    if (this.#connecting) throw new Refusal('already_connected');
    this.#connecting = true;
    if (protocol !== PROTOCOL) throw new Refusal('unsupported_protocol', `this gateway speaks protocol ${PROTOCOL}`);
    const credentials =
      token === undefined && ticket === undefined ? { token: this.#options.token } : { token, ticket };
    const principal = await this.#authenticate(credentials).catch((error: unknown) => {
      this.#connecting = false; // if the error does not close the connection, the client may try again
      throw error;
    });
    if (principal === null) return;
    const {
      id: session,
      transport,
      hub,
      access,
      fresh = false,
      waits = false,
      heartbeat,
      limits,
      principalLimits,
      delivered,
    } = this.#options;
    this.#leave = principalLimits?.enter(principal) ?? null;
    const { maxSubscriptions } = limits;
    this.#subscriptions = new Subscriptions(principal, {
      transport,
      hub,
      access,
      maxSubscriptions,
      fresh,
      waits,
      times,
      principalLimits,
      delivered,
    });
    this.#send({ type: 'connected', id, session, heartbeat, limits });
    this.#setPrincipal(principal);
  }

  /** If the old token has expired, the connection stays paused until the reply, and then continues where it was. */
  async #refresh(
    subscriptions: Subscriptions,
    { id, token }: Extract<ParsedCommand, { type: 'refresh' }>,
  ): Promise<void> {
    const principal = await this.#authenticate({ token });
    if (principal === null) return;
    // The session and its limits belong to the subject that opened the connection.
    if (this.subject !== principal.subject) throw new Refusal('unauthorized', 'the token belongs to another principal');
    await subscriptions.authorize(principal);
    if (this.#closed) return;
    this.#send({ type: 'refreshed', id });
    if (this.#setPrincipal(principal)) subscriptions.resume();
  }

  /** Resolves to null if the connection was closed in the meantime. */
  async #authenticate(credentials: Credentials): Promise<Principal | null> {
    const principal = await this.#options.authenticator.authenticate(credentials);
    return this.#closed ? null : principal;
  }

  /** Sets the principal, and pauses the connection when its token expires. Returns false if the token has expired already. */
  #setPrincipal(principal: Principal): boolean {
    this.#principal = principal;
    this.#cancelTimer();
    this.#cancelTimer = nothing; // a timer that was cancelled stays in memory as long as this refers to it
    const { expiresAt } = principal;
    if (expiresAt === null) return true;
    const left = expiresAt - this.#options.clock.now();
    // The timer may fire early, and has a maximum of some weeks: the time is checked again.
    if (left > 0) this.#cancelTimer = this.#options.clock.after(left, () => void this.#setPrincipal(principal));
    else this.#pause();
    return left > 0;
  }

  /** The token has expired (I5). */
  #pause(): void {
    this.#subscriptions?.pause();
    this.#send({ type: 'paused', code: 'token_expired' });
    this.#cancelTimer = this.#options.clock.after(this.#options.refreshTimeout, () => this.close('token_expired'));
  }

  #refuse(error: unknown, commandId?: number): void {
    if (this.#closed) return;
    const refusal = asRefusal(error);
    const id = refusal instanceof RefusedFrame ? refusal.id : commandId;
    const { code, message, retryAfter } = refusal;
    if (code === 'internal') this.#options.logger.error({ session: this.id, err: error }, 'a command failed');
    const when = retryAfter > 0 ? { retryAfter: Math.ceil(retryAfter) } : {};
    this.#send({ type: 'error', ...(id === undefined ? {} : { id }), code, message, ...when });
    if (refusal instanceof RefusedFrame || code === 'frame_too_large') this.#refused += 1;
    if (isErrorCode(code) && 'close' in errors[code]) this.close(code, message);
    else if (this.#refused >= MAX_REFUSED) this.close('too_many_errors');
  }
}
