import {
  askedPosition,
  type ErrorCode,
  errors,
  type Frame,
  formatPosition,
  type Limits,
  PROTOCOL,
  startAt,
} from '../../client/protocol/index.js';
import type { Channel } from '../hub/channel.js';
import type { Hub } from '../hub/hub.js';
import type { Logger } from '../logger.js';
import {
  type Authenticator,
  type Clock,
  InvalidChannel,
  type Principal,
  type Transport,
  Unavailable,
} from '../ports.js';
import { Refusal } from '../refusal.js';
import { type ParsedCommand, parseCommand, RefusedFrame, readCommand } from './commands.js';
import { Cursor } from './cursor.js';

export interface ConnectionOptions {
  readonly id: string;
  readonly transport: Transport;
  readonly hub: Hub;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: Limits;
  /** In milliseconds. */
  readonly heartbeat: number;
  readonly connectTimeout: number;
  /** The table is asked where a channel stands, even if the gateway has a place for it: what is committed is known then. */
  readonly fresh?: boolean;
}

/** Malformed frames after which a connection is ended: such a client cannot be right about anything else. */
const MAX_REFUSED = 100;

type Subscribe = Extract<ParsedCommand, { type: 'subscribe' }>;

/**
 * One client: answers its commands, and pumps what follows its cursors into its transport, as fast as that takes
 * it and no faster. What is not yet sent is not held here: a slow client costs one send buffer (I6).
 */
export class Connection {
  readonly #options: ConnectionOptions;
  /** One entry per subscription; while its channel is being opened, the command that asked for it. */
  readonly #cursors = new Map<string, Cursor | Subscribe>();
  /** Cursors that are behind, in the order of their turns. */
  readonly #ready = new Set<Cursor>();
  #principal: Principal | null = null;
  #connecting = false;
  #closed = false;
  #opening = 0;
  #refused = 0;
  #cancelTimer: () => void;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#cancelTimer = options.clock.after(options.connectTimeout, () => this.close('connect_timeout'));
  }

  get subscriptions(): number {
    return this.#cursors.size;
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
    return [...this.#cursors.values()].some((cursor) => !(cursor instanceof Cursor) || cursor.behind);
  }

  /** Where each subscription stands: what to ask for, as `since`, to go on after what was sent. */
  positions(): [channel: string, since: string][] {
    return [...this.#cursors].map(([name, cursor]) => [
      name,
      cursor instanceof Cursor ? cursor.position : cursor.since,
    ]);
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
    this.#pump();
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
    this.#ready.clear();
    for (const cursor of this.#cursors.values()) if (cursor instanceof Cursor) this.#letGo(cursor);
    this.#cursors.clear();
  }

  #send(frame: Frame): void {
    if (!this.#closed) this.#options.transport.send(frame);
  }

  #answer(command: ParsedCommand): Promise<void> | void {
    if (command.type === 'connect') return this.#connect(command);
    if (command.type === 'ping') return this.#send({ type: 'pong', id: command.id });
    if (this.#principal === null) throw new Refusal('not_connected');
    switch (command.type) {
      case 'refresh':
        return this.#refresh(command.id, command.token);
      case 'subscribe':
        return this.#subscribe(command);
      case 'unsubscribe':
        return this.#unsubscribe(command.id, command.channel);
    }
  }

  async #connect({ id, protocol, token }: Extract<ParsedCommand, { type: 'connect' }>): Promise<void> {
    if (this.#connecting) throw new Refusal('already_connected');
    this.#connecting = true;
    if (protocol !== PROTOCOL) throw new Refusal('unsupported_protocol', `this gateway speaks protocol ${PROTOCOL}`);
    await this.#admit(token);
    if (this.#closed) return;
    const { id: session, heartbeat, limits } = this.#options;
    this.#send({ type: 'connected', id, session, heartbeat, limits });
  }

  async #refresh(id: number, token: string): Promise<void> {
    await this.#admit(token);
    this.#send({ type: 'refreshed', id });
  }

  async #admit(token: string | undefined): Promise<void> {
    const principal = await this.#options.authenticator.authenticate(token);
    if (this.#closed) return;
    // What this connection was given, and what it is called, belongs to whoever opened it.
    if (this.#principal !== null && this.#principal.subject !== principal.subject) {
      throw new Refusal('unauthorized', 'the token is of another principal');
    }
    this.#principal = principal;
    this.#cancelTimer();
    this.#expireAt(principal.expiresAt);
  }

  #expireAt(expiresAt: number | null): void {
    if (expiresAt === null) return;
    const left = expiresAt - this.#options.clock.now();
    if (left <= 0) return this.close('token_expired');
    this.#cancelTimer = this.#options.clock.after(left, () => this.#expireAt(expiresAt));
  }

  async #subscribe(command: Subscribe): Promise<void> {
    const { id, channel: name, since } = command;
    if (this.#cursors.has(name)) throw new Refusal('already_subscribed', `already subscribed to ${name}`);
    // Those that were taken back while their channel was being opened still cost what it costs.
    // With room for a client at its limit that moves from channel to channel while they are.
    const { maxSubscriptions } = this.#options.limits;
    if (this.#cursors.size >= maxSubscriptions || this.#opening >= 2 * maxSubscriptions) {
      throw new Refusal('too_many_subscriptions');
    }
    this.#cursors.set(name, command);
    this.#opening += 1;
    // It may be unsubscribed, and even subscribed anew, while its channel is being opened.
    const wanted = () => this.#cursors.get(name) === command;
    let channel: Channel | null = null;
    try {
      channel = await this.#options.hub.hold(name);
      if (channel === null) throw new Refusal('unknown_channel', `there is no channel ${name}`);
      const asked = askedPosition(since, channel.state);
      if (asked === null) throw new RefusedFrame('invalid_frame', 'since: start, now, a seq or a position', id);
      // The client may know more than this gateway has read so far: ask the table before calling it wrong.
      const unknown = asked.epoch !== channel.state.epoch || asked.seq > channel.state.head;
      if ((unknown || this.#options.fresh) && !(await channel.refresh()))
        throw new Refusal('unknown_channel', `there is no channel ${name}`);
      if (wanted()) return this.#begin(id, channel, since);
      this.#send({ type: 'unsubscribed', id, channel: name, code: 'requested' });
    } catch (error) {
      if (wanted()) this.#cursors.delete(name);
      if (channel !== null) this.#options.hub.release(channel);
      throw error;
    } finally {
      this.#opening -= 1;
    }
    this.#options.hub.release(channel);
  }

  /** From here to the end of the reply nothing may wait: the state must be the one the cursor starts from (I4). */
  #begin(id: number, channel: Channel, since: string): void {
    const { state } = channel;
    const start = startAt(askedPosition(since, state) ?? { epoch: state.epoch, seq: state.head }, state);
    const cursor = new Cursor(channel, start.after, {
      onReady: (ready) => {
        this.#ready.add(ready);
        this.#pump();
      },
      onReset: (_, reason, position) => {
        this.#send({ type: 'reset', channel: channel.name, reason, position: formatPosition(position) });
      },
      onEnd: (ended) => {
        this.#cursors.delete(channel.name);
        this.#letGo(ended);
        this.#send({ type: 'unsubscribed', channel: channel.name, code: 'unknown_channel' });
      },
    });
    channel.join(cursor);
    // Where the position is another than was asked for, it counts only from the reset on that says so.
    if (start.reset === null) this.#cursors.set(channel.name, cursor);
    this.#send({ type: 'subscribed', id, channel: channel.name, ...state });
    this.#cursors.set(channel.name, cursor);
    if (start.reset !== null) cursor.reset(start.reset, { epoch: state.epoch, seq: start.after });
    cursor.advance();
  }

  #unsubscribe(id: number, channel: string): void {
    const cursor = this.#cursors.get(channel);
    if (cursor === undefined) throw new Refusal('not_subscribed', `not subscribed to ${channel}`);
    this.#cursors.delete(channel);
    if (cursor instanceof Cursor) this.#letGo(cursor);
    this.#send({ type: 'unsubscribed', id, channel, code: 'requested' });
  }

  #letGo(cursor: Cursor): void {
    this.#ready.delete(cursor);
    cursor.channel.leave(cursor);
    this.#options.hub.release(cursor.channel);
  }

  /** One frame of one cursor after the other, while the transport takes it. */
  #pump(): void {
    for (const cursor of this.#ready) {
      if (!this.#options.transport.writable) return;
      this.#ready.delete(cursor);
      const frame = cursor.take();
      if (frame === null) continue;
      this.#options.transport.send(frame);
      this.#toEnd(cursor);
      // To the end of the line: the loop comes to it again after the others.
      if (cursor.behind) this.#ready.add(cursor);
    }
  }

  /** Whoever asks for the channels again in this order, as a poll does, comes first to those that had nothing. */
  #toEnd({ channel: { name } }: Cursor): void {
    const cursor = this.#cursors.get(name);
    if (cursor === undefined || this.#cursors.size === 1) return;
    this.#cursors.delete(name);
    this.#cursors.set(name, cursor);
  }

  #refuse(error: unknown, commandId?: number): void {
    if (this.#closed) return;
    const refusal = this.#asRefusal(error);
    const id = refusal instanceof RefusedFrame ? refusal.id : commandId;
    const { code, message } = refusal;
    this.#send({ type: 'error', ...(id === undefined ? {} : { id }), code, message });
    if (refusal instanceof RefusedFrame || code === 'frame_too_large') this.#refused += 1;
    if ('close' in errors[code]) this.close(code, message);
    else if (this.#refused >= MAX_REFUSED) this.close('too_many_errors');
  }

  #asRefusal(error: unknown): Refusal {
    if (error instanceof Refusal) return error;
    if (error instanceof InvalidChannel) return new Refusal('invalid_channel', error.message);
    if (error instanceof Unavailable) return new Refusal('unavailable');
    this.#options.logger.error({ session: this.#options.id, err: error }, 'a command failed');
    return new Refusal('internal');
  }
}
