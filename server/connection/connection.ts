import { type ErrorCode, errors, type Frame, isErrorCode, type Limits, PROTOCOL } from '@rowcast/client/protocol';
import type { Logger } from '../ground/logger.js';
import { asRefusal, Refusal } from '../ground/refusal.js';
import type { Hub } from '../hub/hub.js';
import type { Clock } from '../ports/clock.js';
import type { Positions, Transport } from '../ports/door.js';
import type { Authenticator, Credentials, Principal, Rights } from '../ports/principal.js';
import { type ParsedCommand, parseCommand, RefusedFrame, readCommand } from './commands.js';
import { type PrincipalLimits, Subscriptions } from './subscriptions.js';

export interface ConnectionOptions {
  readonly id: string;
  readonly transport: Transport;
  readonly hub: Pick<Hub, 'hold' | 'release'>;
  readonly access: Rights;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: Limits;
  /** In milliseconds. */
  readonly heartbeat: number;
  readonly connectTimeout: number;
  /** How long a connection whose token has expired is kept for a fresh one, in milliseconds. */
  readonly refreshTimeout: number;
  /** The table is asked where a channel stands, even if the gateway has a place for it: what is committed is known then. */
  readonly fresh?: boolean;
  /** The token that whatever opened the connection showed by itself; for a `connect` that shows none. */
  readonly token?: string | undefined;
  /** Left out: for a connection of this process. A channel that was refused counts as a request. */
  readonly principalLimits?: PrincipalLimits;
}

/** Malformed frames after which a connection is ended: such a client cannot be right about anything else. */
const MAX_REFUSED = 100;

/** One client: who it is and for how long, and the answers to its commands. What it reads is in its subscriptions. */
export class Connection {
  readonly #options: ConnectionOptions;
  /** Null before the client has said who it is. */
  #principal: Principal | null = null;
  #subscriptions: Subscriptions | null = null;
  #connecting = false;
  #refreshing: Promise<void> = Promise.resolve();
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

  get id(): string {
    return this.#options.id;
  }

  /** Who is connected; null before that. */
  get subject(): string | null {
    return this.#principal?.subject ?? null;
  }

  /** Nothing is sent any more, and no command is heard. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The client takes what is sent: who sends commands by another way has to wait for that. */
  get writable(): boolean {
    return this.#options.transport.writable;
  }

  /** There is something to send that has not been sent, or a subscription that has not been answered. */
  get behind(): boolean {
    return this.#subscriptions?.behind ?? false;
  }

  /** Where each subscription stands: what to ask for, as `since`, to go on after what was sent. */
  positions(): Positions {
    return this.#subscriptions?.positions() ?? [];
  }

  /** A text frame came. */
  receive(text: string): Promise<void> {
    return this.#handle(() => parseCommand(text));
  }

  /** A command came as a JSON value. */
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

  /** A frame came that is larger than the limit; it was not read. */
  tooLarge(): void {
    const { maxFrameBytes } = this.#options.limits;
    this.#refuse(new Refusal('frame_too_large', `a command has at most ${maxFrameBytes} bytes`));
  }

  /** A frame came that is no text. */
  binary(): void {
    this.#refuse(new RefusedFrame('invalid_frame', 'a command is a text frame'));
  }

  /** The transport takes data again. */
  drained(): void {
    this.#subscriptions?.pump();
  }

  /** Ends the connection, telling the client why. */
  close(code: ErrorCode, message: string = errors[code].meaning): void {
    if (this.#closed) return;
    const { close = 4000 } = errors[code] as { close?: number };
    this.gone();
    this.#options.transport.close(close, message);
  }

  /** The transport has closed: lets go of everything. */
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
        // In turn: the rights of one token must not get the life of another.
        this.#refreshing = this.#refreshing.catch(() => {}).then(() => this.#refresh(subscriptions, command));
        return this.#refreshing;
      case 'unsubscribe':
        return subscriptions.unsubscribe(command.id, command.channel);
      case 'subscribe':
        if (!subscriptions.paused) return subscriptions.subscribe(command);
        // An answer, and not the end: the fresh token may be on its way.
        return this.#send({
          type: 'error',
          id: command.id,
          code: 'token_expired',
          message: errors.token_expired.meaning,
        });
    }
  }

  async #connect({ id, protocol, token, ticket }: Extract<ParsedCommand, { type: 'connect' }>): Promise<void> {
    if (this.#connecting) throw new Refusal('already_connected');
    this.#connecting = true;
    if (protocol !== PROTOCOL) throw new Refusal('unsupported_protocol', `this gateway speaks protocol ${PROTOCOL}`);
    const shown = token === undefined && ticket === undefined ? { token: this.#options.token } : { token, ticket };
    const principal = await this.#authenticate(shown).catch((error: unknown) => {
      this.#connecting = false; // where that does not end the connection, it may be tried again
      throw error;
    });
    if (principal === null) return;
    const { id: session, transport, hub, access, fresh = false, heartbeat, limits, principalLimits } = this.#options;
    this.#leave = principalLimits?.enter(principal) ?? null;
    const { maxSubscriptions } = limits;
    this.#subscriptions = new Subscriptions(principal, {
      transport,
      hub,
      access,
      maxSubscriptions,
      fresh,
      principalLimits,
    });
    this.#send({ type: 'connected', id, session, heartbeat, limits });
    this.#lasts(principal);
  }

  /** Until the answer nothing more comes where the old token has expired; after it everything goes on where it was. */
  async #refresh(
    subscriptions: Subscriptions,
    { id, token }: Extract<ParsedCommand, { type: 'refresh' }>,
  ): Promise<void> {
    const principal = await this.#authenticate({ token });
    if (principal === null) return;
    // What this connection was given, and what it is called, belongs to whoever opened it.
    if (this.subject !== principal.subject) throw new Refusal('unauthorized', 'the token is of another principal');
    await subscriptions.authorize(principal);
    if (this.#closed) return;
    this.#send({ type: 'refreshed', id });
    if (this.#lasts(principal)) subscriptions.resume();
  }

  /** Null where the connection has ended meanwhile. */
  async #authenticate(shown: Credentials): Promise<Principal | null> {
    const principal = await this.#options.authenticator.authenticate(shown);
    return this.#closed ? null : principal;
  }

  /** The connection is the principal's, until its token expires; false where it has. */
  #lasts(principal: Principal): boolean {
    this.#principal = principal;
    this.#cancelTimer();
    const { expiresAt } = principal;
    if (expiresAt === null) return true;
    const left = expiresAt - this.#options.clock.now();
    // A timer may be early, and cannot be set for more than some weeks.
    if (left > 0) this.#cancelTimer = this.#options.clock.after(left, () => void this.#lasts(principal));
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
