/**
 * A link made of HTTP requests, for the SSE and the long-poll rung: one request at a time, and each request repeats all
 * commands that stand. How one request is made is the `Exchange` of the rung.
 *
 *             token expired
 *   running ◄──────────────► paused
 *      │       refreshed        │
 *      └─────────► over ◄───────┘  closed, refused, or a request failed
 *
 *   running  one request follows the other while something is subscribed; else the next command makes one
 *   paused   a request is made only for a command, until `refresh` is answered
 *   over     no request is out, and no event is reported any more
 */
import { causeOf } from '../ground/error.js';
import { asFrame, type Command, type Frame, outcomeOf } from '../protocol/index.js';
import { HttpRefusal } from './http.js';
import type { Link, LinkEvents } from './rung.js';
import { StandingCommands } from './standing-commands.js';

export interface ExchangeRequest {
  readonly commands: readonly Command[];
  /** A command has no reply yet: the gateway should answer at once instead of waiting for events. */
  readonly urgent: boolean;
  readonly signal: AbortSignal;
  /** Called with each JSON value of the response. */
  onValue(value: unknown): void;
  onComment(): void;
}

/** Makes one request. Resolves at the end of the response: true if the next request may follow. */
export type Exchange = (request: ExchangeRequest) => Promise<boolean>;

/** The close code of a connection that ended without a closing handshake. */
const BROKEN = 1006;

const PAUSED: Frame = { type: 'paused', code: 'token_expired' };

type Phase = 'running' | 'paused' | 'over';

/**
 * A command replaces the present request by a new one that has all commands of the same turn, as soon as the present one
 * has brought the replies that it was made for. So commands in quick succession delay no reply.
 */
export class RequestLink implements Link {
  readonly #events: LinkEvents;
  readonly #exchange: Exchange;
  readonly #commands = new StandingCommands();
  #phase: Phase = 'running';
  /** The one that is out. */
  #request: AbortController | null = null;
  /** Commands were added since the last request was made. */
  #changed = false;

  constructor(events: LinkEvents, exchange: Exchange) {
    this.#events = events;
    this.#exchange = exchange;
    queueMicrotask(() => this.#phase === 'over' || events.onOpen());
  }

  send(command: Command): void {
    const replies = this.#commands.add(command);
    this.#changed = true;
    this.#gather();
    for (const reply of replies) this.#events.onFrame(reply);
  }

  close(): void {
    this.#phase = 'over';
    this.#request?.abort();
    this.#request = null;
  }

  #gather(): void {
    queueMicrotask(() => {
      if (this.#changed && (this.#request === null || this.#commands.settled)) this.#next();
    });
  }

  /** Makes the next request in place of the present one, or none if nothing is subscribed: the next command makes one then. */
  #next(): void {
    if (this.#phase === 'over') return;
    this.#request?.abort();
    this.#changed = false;
    const { urgent, channels } = this.#commands;
    this.#request = urgent || channels.length > 0 ? new AbortController() : null;
    if (this.#request !== null) void this.#run(urgent, this.#request);
  }

  async #run(urgent: boolean, request: AbortController): Promise<void> {
    const current = () => this.#request === request;
    let progress = false;
    try {
      const goesOn = await this.#exchange({
        commands: this.#commands.list(),
        urgent,
        signal: request.signal,
        onValue: (value) => {
          if (current()) progress = this.#receive(value) || progress;
        },
        onComment: () => {
          if (current()) this.#events.onHeard();
        },
      });
      if (!current()) return;
      if (!goesOn || (urgent && !progress)) return this.#end(BROKEN, 'the response ended');
    } catch (reason) {
      if (!current()) return;
      if (reason instanceof HttpRefusal && reason.frame !== null) this.#receive(reason.frame);
      else this.#end(BROKEN, causeOf(reason));
    }
    this.#request = null;
    if (this.#changed || this.#phase === 'running') this.#next();
  }

  /** Passes a frame on. Returns whether it was of use. */
  #receive(value: unknown): boolean {
    const frame = this.#read(value);
    const passed = frame === null ? null : this.#commands.translate(frame);
    if (passed === null) this.#events.onHeard();
    else this.#events.onFrame(passed);
    if (frame?.type === 'error') this.#refused(passed?.type === 'error' ? passed : frame);
    if (this.#changed) this.#gather();
    return passed !== null && !(passed.type === 'error' && passed.id === undefined);
  }

  /**
   * Where a single connection would be paused because its token has expired, a request is refused instead: that becomes
   * `paused`. A second such error, in the pause, ends the link.
   */
  #read(value: unknown): Frame | null {
    const frame = asFrame(value);
    const expired = frame?.type === 'error' && frame.code === 'token_expired';
    const read = expired && this.#commands.connected && this.#phase === 'running' ? PAUSED : frame;
    if (read?.type === 'paused') this.#phase = 'paused';
    if (read?.type === 'refreshed') this.#phase = 'running';
    return read;
  }

  /** Ends the link if the error would close a single connection, or answers no command. */
  #refused({ id, code, message }: Extract<Frame, { type: 'error' }>): void {
    const { close = id === undefined ? BROKEN : undefined } = outcomeOf(code);
    if (close !== undefined && this.#phase !== 'over') this.#end(close, message);
  }

  #end(code: number, reason: string): void {
    this.close();
    this.#events.onClose(code, reason);
  }
}
