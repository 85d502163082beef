/**
 * What the parts of the gateway (hub, connection, doorbell) need from the edges that do I/O. The parts import this
 * and never an edge, so that tests can run them with fakes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ZodType } from 'zod';
import type { Frame, Position, ResetReason, Since } from '../client/protocol/index.js';
import type { Refusal } from './refusal.js';

/** Time, in milliseconds. */
export interface Clock {
  now(): number;
  /** Runs `task` once after `delay`, unless the returned function was called before. */
  after(delay: number, task: () => void): () => void;
}

/** A row of a channel: its number and its columns as JSON text. */
export interface StoredRow {
  readonly seq: number;
  readonly json: string;
}

/** Where a channel's numbering stands: events floor to head can be read (none where floor is head + 1). */
export interface ChannelState {
  readonly epoch: string;
  readonly floor: number;
  readonly head: number;
}

/** The tables, read by position. Every method rejects with `Unavailable` while the database cannot be reached. */
export interface Log {
  /**
   * The state of a channel, read on the connection of the tail: a row that this snapshot misses is in a movement
   * that comes later. Null where there is no such channel; `InvalidChannel` where the name is not one.
   */
  open(channel: string): Promise<ChannelState | null>;
  /** The rows that follow `after`, up to `upTo`; at least the first one, then as many as a page may hold. */
  page(channel: string, after: number, upTo: number): Promise<Run>;
}

/** Rows of one channel without a hole, and the epoch in which they have these numbers. */
export interface Run {
  readonly epoch: string;
  readonly rows: readonly StoredRow[];
}

/** A channel's head has moved. `rows` are the first of the new rows, where they were few enough to come along. */
export interface Movement extends Run {
  readonly channel: string;
  readonly head: number;
}

/** What one read of the tail found. */
export interface TailRead {
  /** Committed transactions that wrote events. */
  readonly commits: number;
  /** Every transaction with a lower number had ended. */
  readonly xmin: bigint;
}

/** The lock that says that a gateway is awake. */
export interface Gate {
  /** Queues for the gate; `onTaken` once it is held, `onLost` if the session that held or queued has died. */
  take(events: { onTaken(): void; onLost(): void }): void;
  /** The gateway lives and reads: without that the gate is taken from it after a while. */
  renew(): void;
  /** Gives it back, or leaves the queue; resolves when every later probe finds the gate free of this gateway. */
  leave(): Promise<void>;
}

/** Somebody who reads a channel: a cursor. */
export interface Reader {
  /** The seq of the last event that was sent. */
  readonly after: number;
  /** There may be something to send. */
  advance(): void;
  /** What follows `after` is gone: go on after `position`. */
  reset(reason: ResetReason, position: Position): void;
  /** The channel is gone. */
  end(): void;
}

/** One connection's way to the client, whatever carries it. */
export interface Transport {
  /** False while more bytes wait than the send buffer may hold; `drained` is called when that has passed. */
  readonly writable: boolean;
  /** A frame of events comes as its text, which all readers of the channel share. */
  send(frame: Frame | Buffer): void;
  close(code: number, reason: string): void;
}

/** The text of a frame; for whoever writes it. */
export function textOf(frame: Frame | Buffer): string | Buffer {
  return Buffer.isBuffer(frame) ? frame : JSON.stringify(frame);
}

/** The database role that a principal acts as: nobody known, a user, a service that is trusted with everything. */
export const ROLES = ['anon', 'authenticated', 'service_role'] as const;
export type Role = (typeof ROLES)[number];

/** Who asks. */
export interface Principal {
  readonly subject: string;
  readonly role: Role;
  /** All claims as JSON text: what SQL finds in `request.jwt.claims`. */
  readonly claims: string;
  /** Milliseconds since 1970; null where it never expires. */
  readonly expiresAt: number | null;
}

/** The gateway itself, for what it does on nobody's behalf alone. */
export const SERVICE: Principal = {
  subject: 'rowcast',
  role: 'service_role',
  claims: JSON.stringify({ sub: 'rowcast', role: 'service_role' }),
  expiresAt: null,
};

/** What a client shows to be known. */
export interface Credentials {
  readonly token?: string | undefined;
  readonly ticket?: string | undefined;
}

export interface Authenticator {
  /** Rejects with `Refusal` (unauthorized, token_expired, token_not_yet_valid, unavailable). */
  authenticate(credentials: Credentials): Promise<Principal>;
}

/** What stands for a token where that would stand in an address: good for one use, and not for long. */
export interface Tickets {
  /** `expiresIn` in seconds. Rejects with `Unavailable`. */
  issue(principal: Principal): Promise<{ ticket: string; expiresIn: number }>;
  /** Whom it was issued to, once; null where it is not good. Rejects with `Unavailable`. */
  redeem(ticket: string): Promise<Principal | null>;
}

/** Whether a principal may read a channel. */
export interface AccessQuestion {
  readonly principal: Principal;
  readonly channel: string;
}

export interface Authorizer {
  /**
   * `again`: somebody relies on the answer that was yes before. Null where the policy itself failed. Rejects with
   * `Unavailable` while the database cannot be reached.
   */
  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null>;
}

/** SQL within a transaction. Each row of the answer is checked. */
export interface Sql {
  query<T>(text: string, values: readonly unknown[], row: ZodType<T>): Promise<T[]>;
}

/** The database as one principal sees it, or as the login of a library's user does. */
export interface Database {
  /** One transaction, READ COMMITTED, rolled back when `work` rejects. Rejects with `Unavailable` where there is no connection. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
}

/** Commands for a connection that has no way up of its own, named by who is connected and by its session. */
export interface Order {
  readonly subject: string;
  readonly session: string;
  readonly commands: readonly unknown[];
  /** It says no more than that the session was named then elsewhere, in milliseconds of the machine's clock. */
  readonly named?: number;
}

export type Positions = readonly (readonly [channel: string, since: Since])[];

/** Where a connection stands. */
export interface Place {
  /** There is something to send that has not been sent. */
  readonly behind: boolean;
  positions(): Positions;
}

/** A frame as it is written into a stream: in parts, none where it is not told. */
export interface Written {
  readonly parts: readonly (string | Buffer)[];
  /** The stream ends with it. */
  readonly end?: Refusal;
}

export type EventFormat = (frame: Frame | Buffer) => Written;

/** What a request asks of its connection. */
export interface Asked {
  /** The first of them is `connect`. */
  readonly commands: readonly unknown[];
  /** The name of the connection for who sends it commands later. */
  readonly session: string | undefined;
  /** It was written as commands: what became of each of them is in the answer, whatever that was. */
  readonly replies: boolean;
  /** All that was committed before it belongs into the answer: the table is asked, not memory. */
  readonly fresh?: boolean;
  /** How a stream is written by the rules of another protocol, whose clients read the HTTP status. */
  readonly format?: (place: Place) => EventFormat;
}

/** What a poll has gathered. */
export interface PollAnswer {
  readonly frames: readonly (Frame | Buffer)[];
  readonly positions: Positions;
  /** It could not hold or wait for all that there is: more follows. */
  readonly full: boolean;
}

/** Where requests become connections. */
export interface Door {
  /** Answers with a stream of events. Rejects with `Refusal` where there is nothing to stream and no use in coming back. */
  stream(request: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void>;
  /** Waits up to `wait` milliseconds for news; null where nobody waits any more. Rejects with `Refusal`. */
  poll(request: IncomingMessage, response: ServerResponse, asked: Asked, wait: number): Promise<PollAnswer | null>;
  /** Gives commands to a connection of the same principal. Rejects with `unknown_session` where there is none of that name. */
  command(order: Order): Promise<void>;
}

/** A subscription of this very process. */
export interface InnerSubscription {
  readonly principal: Principal;
  readonly channel: string;
  readonly since: Since;
  /** Each frame after `connected`. While it is at work the next ones wait, and with them the cursor. Never rejects. */
  onFrame(frame: Frame): Promise<void> | void;
  /** The gateway has ended it: nothing comes any more. */
  onEnd(code: string): void;
}

/** Where a part of this process subscribes, in the way of every client. */
export interface InnerDoor {
  /** Resolves to what ends it, after `subscribed`. Rejects with `Refusal`. */
  subscribe(subscription: InnerSubscription): Promise<() => void>;
}

/** The gateways that share a port with this one: each may be given a request that is for another. */
export interface Peers {
  give(order: Order): Promise<Taken>;
  onGiven(take: (order: Order) => Taken): void;
}

/** `elsewhere`: there is no such session here. `full`: the client does not read what it was sent already. */
export type Taken = 'taken' | 'full' | 'elsewhere';

/** The database cannot be reached. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
}

/** A channel name that cannot be one; the message says how to write it. */
export class InvalidChannel extends Error {
  override readonly name = 'InvalidChannel';
}
