import { causeOf } from '../ground/error.js';
import { asFrame, type Command, type Frame, outcomeOf } from '../protocol/index.js';
import { Roster } from './roster.js';
import type { Link, LinkEvents } from './rung.js';

/** One request, and what comes of it. */
export interface Asking {
  readonly commands: readonly Command[];
  /** A command was never answered before: nobody should wait for news. */
  readonly urgent: boolean;
  readonly signal: AbortSignal;
  /** A value that should be a frame. */
  onValue(value: unknown): void;
  onComment(): void;
}

/** Makes one request. Resolves at the end of its answer: true where the next request may follow. */
export type Ask = (asking: Asking) => Promise<boolean>;

/** The answer is not the one that was asked for. `frame`: what the gateway says, if it was the gateway. */
export class Refused extends Error {
  readonly frame: Frame | null;

  constructor(status: number, frame: Frame | null) {
    super(`HTTP status ${status}`);
    this.frame = frame;
  }
}

/** No closing handshake. */
const BROKEN = 1006;

const pause: Frame = { type: 'paused', code: 'token_expired' };

/**
 * A connection made of requests, one at a time. A command makes the present request anew, together with all others of
 * the same turn, once that has answered what it was asked: so commands that come fast do not keep it from any answer.
 */
export class Requests implements Link {
  readonly #events: LinkEvents;
  readonly #ask: Ask;
  readonly #roster = new Roster();
  #request: AbortController | null = null;
  #gathering = false;
  #changed = false;
  /** The token has expired, and no request follows by itself before `refresh` was answered. */
  #paused = false;
  #over = false;

  constructor(events: LinkEvents, ask: Ask) {
    this.#events = events;
    this.#ask = ask;
    queueMicrotask(() => this.#over || events.onOpen());
  }

  send(command: Command): void {
    const replies = this.#roster.take(command);
    this.#changed = true;
    this.#gather();
    for (const reply of replies) this.#events.onFrame(reply);
  }

  close(): void {
    this.#over = true;
    this.#request?.abort();
  }

  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    queueMicrotask(() => {
      this.#gathering = false;
      if (this.#changed && (this.#request === null || this.#roster.settled)) this.#next();
    });
  }

  #next(): void {
    if (this.#over) return;
    this.#request?.abort();
    this.#request = null;
    this.#changed = false;
    const urgent = this.#roster.hasNews;
    // Nobody listens: the next command is the next request.
    if (!urgent && this.#roster.channels.length === 0) return;
    void this.#run(urgent, new AbortController());
  }

  async #run(urgent: boolean, request: AbortController): Promise<void> {
    this.#request = request;
    const current = () => !this.#over && this.#request === request;
    let progress = false;
    try {
      const goesOn = await this.#ask({
        commands: this.#roster.commands(),
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
      if (!goesOn || (urgent && !progress)) return this.#end(BROKEN, 'the answer ended');
    } catch (reason) {
      if (!current()) return;
      if (reason instanceof Refused && reason.frame !== null) this.#receive(reason.frame);
      else this.#end(BROKEN, causeOf(reason));
      if (this.#over) return;
    }
    this.#request = null;
    if (this.#changed || !this.#paused) this.#next();
  }

  /** Whether it was of any use. */
  #receive(value: unknown): boolean {
    const frame = this.#read(value);
    const passed = frame === null ? null : this.#roster.digest(frame);
    if (passed === null) this.#events.onHeard();
    else this.#events.onFrame(passed);
    if (frame?.type === 'error') this.#refused(passed?.type === 'error' ? passed : frame);
    if (this.#changed) this.#gather();
    return passed !== null && !(passed.type === 'error' && passed.id === undefined);
  }

  /** On a single connection a token that is no longer good is a pause; a second such error, in the pause, ends it. */
  #read(value: unknown): Frame | null {
    const frame = asFrame(value);
    const expired = frame?.type === 'error' && frame.code === 'token_expired';
    const read = expired && this.#roster.connected && !this.#paused ? pause : frame;
    if (read?.type === 'paused') this.#paused = true;
    if (read?.type === 'refreshed') this.#paused = false;
    return read;
  }

  /** Some errors end a connection; there it would be closed with their code. So do all that answer no command. */
  #refused({ id, code, message }: Extract<Frame, { type: 'error' }>): void {
    const { close = id === undefined ? BROKEN : undefined } = outcomeOf(code);
    if (close !== undefined && !this.#over) this.#end(close, message);
  }

  #end(code: number, reason: string): void {
    this.close();
    this.#events.onClose(code, reason);
  }
}
