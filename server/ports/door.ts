import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Frame, Since } from '@rowcast/client/protocol';
import type { Refusal } from '../ground/refusal.js';
import type { Principal } from './principal.js';

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
export interface InProcessSubscription {
  readonly principal: Principal;
  readonly channel: string;
  readonly since: Since;
  /** Each frame after `connected`. While it is at work the next ones wait, and with them the cursor. Never rejects. */
  onFrame(frame: Frame): Promise<void> | void;
  /** The gateway has ended it: nothing comes any more. */
  onEnd(code: string): void;
}

/** Where a part of this process subscribes, in the way of every client. */
export interface InProcess {
  /** Resolves to what ends it, after `subscribed`. Rejects with `Refusal`. */
  subscribe(subscription: InProcessSubscription): Promise<() => void>;
}

/** The gateways that share a port with this one: each may be given a request that is for another. */
export interface Peers {
  give(order: Order): Promise<Taken>;
  onGiven(take: (order: Order) => Taken): void;
}

/** `elsewhere`: there is no such session here. `full`: the client does not read what it was sent already. */
export type Taken = 'taken' | 'full' | 'elsewhere';
