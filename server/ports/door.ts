/**
 * The seam between connections and the ways in which clients reach them. A door accepts and limits connections of one
 * kind, and gives each a `Transport`; the client's mirror images are a rung and its `Link` (client/transport/rung.ts).
 * The interfaces for HTTP requests, for subscriptions of this process, and for other workers are here as well.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Frame, Since } from '@rowcast/client/protocol';
import type { Refusal } from '../ground/refusal.js';
import { EventsFrame } from './events-frame.js';
import type { Principal } from './principal.js';

/** Carries the frames of one connection to its client. */
export interface Transport {
  /** False while the send buffer is full. The door calls `drained` of the connection when it is true again. */
  readonly writable: boolean;
  /** A frame of events is shared by all readers of the channel. */
  send(frame: Frame | EventsFrame): void;
  close(code: number, reason: string): void;
}

/** The JSON text of a frame. */
export function textOf(frame: Frame | EventsFrame): string | Buffer {
  return frame instanceof EventsFrame ? frame.text : JSON.stringify(frame);
}

/** Commands for an open event stream, which cannot receive commands itself. The connection is named by its subject and session. */
export interface ForwardedCommands {
  readonly subject: string;
  readonly session: string;
  readonly commands: readonly unknown[];
  /**
   * Set if there are no commands, and another gateway only reports that a connection of its own took this name at that time
   * (monotonic clock of the machine, in milliseconds).
   */
  readonly claimedAt?: number;
}

export type Positions = readonly (readonly [channel: string, since: Since])[];

/** How far a connection has read. */
export interface Place {
  /** Whether events are available that were not sent yet. */
  readonly behind: boolean;
  positions(): Positions;
}

/** A frame as it is written to an event stream. No parts: the frame is not sent. */
export interface Written {
  readonly parts: readonly (string | Buffer)[];
  /** The stream ends after this frame, for this reason. */
  readonly end?: Refusal;
}

export type EventFormat = (frame: Frame | EventsFrame) => Written;

/** A request that opens a connection: an event stream or a poll. */
export interface ConnectRequest {
  /** The first command is `connect`. */
  readonly commands: readonly unknown[];
  /** The name by which later requests send commands to the connection. */
  readonly session: string | undefined;
  /** Whether the response contains the reply to each command. True for commands in a body, false for a query string. */
  readonly replies: boolean;
  /** Whether the response must contain everything that was committed before the request: the database is read, not memory. */
  readonly fresh?: boolean;
  /** Formats the stream for another protocol, whose clients expect errors as HTTP status. */
  readonly format?: (place: Place) => EventFormat;
}

/** The frames of one poll. */
export interface PollAnswer {
  readonly frames: readonly (Frame | EventsFrame)[];
  readonly positions: Positions;
  /** Whether more events are available than the response could hold. */
  readonly full: boolean;
}

/** Turns HTTP requests into connections. */
export interface Door {
  /** Sends an event stream. Rejects with `Refusal` before the stream starts, if there is nothing to stream and a retry would not help. */
  stream(request: IncomingMessage, response: ServerResponse, connect: ConnectRequest): Promise<void>;
  /** Waits up to `wait` milliseconds for events. Resolves to null if the client has disconnected. Rejects with `Refusal`. */
  poll(
    request: IncomingMessage,
    response: ServerResponse,
    connect: ConnectRequest,
    wait: number,
  ): Promise<PollAnswer | null>;
  /** Passes commands to an open connection of the same principal. Rejects with `Refusal` (unknown_session) if there is none of that name. */
  command(forwarded: ForwardedCommands): Promise<void>;
}

/** A subscription of code in this process. */
export interface InProcessSubscription {
  readonly principal: Principal;
  readonly channel: string;
  readonly since: Since;
  /** Called with each frame after `connected`. The next frame waits until it resolves, which stops the cursor (backpressure). If it rejects, the subscription ends with `internal`. */
  onFrame(frame: Frame): Promise<void> | void;
  /** The gateway has ended the subscription. No frame follows. */
  onEnd(code: string): void;
}

/** Lets code in this process subscribe, with the same access checks and guarantees as every client. */
export interface InProcess {
  /** Resolves after `subscribed`, to a function that unsubscribes. Rejects with `Refusal`. */
  subscribe(subscription: InProcessSubscription): Promise<() => void>;
}

/** The other gateways on this port. A request may arrive at a gateway that does not hold the connection it is for. */
export interface Peers {
  forward(forwarded: ForwardedCommands): Promise<ForwardResult>;
  onForwarded(receive: (forwarded: ForwardedCommands) => ForwardResult): void;
}

/** `busy`: the send buffer of the connection is full. `not_here`: this gateway has no such session. */
export type ForwardResult = 'accepted' | 'busy' | 'not_here';
