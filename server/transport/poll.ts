/**
 * The transport of one poll: gathers the frames of one response.
 *
 *                 all commands answered            news, or `wait` is over
 *   answering ──────────────────────────► waiting ─────────────────────────► ready ────► finished
 *       │                                                                      ▲
 *       └──────────────────────── all commands answered, with news ────────────┘
 *
 *   answering  some commands have no reply yet; `news`: a frame has arrived that justifies a response
 *   waiting    the gateway has nothing to send
 *   ready      the response is sent when no more events can be read for it
 *   finished   from each phase: the response is sent, or no longer wanted; no timer remains
 *
 * A full response, the deadline, and the end of the connection finish it from each phase.
 */
import { codeOfClose, errors, type Frame, isErrorCode } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import type { Transport } from '../ports/door.js';
import { EventsFrame } from '../ports/events-frame.js';

/** Minimum time for pages to be read from the database, even if the client does not wait, in milliseconds. */
const LOAD_TIME = 5_000;

/** The assumed size of a frame that is not encoded yet, in bytes. */
const FRAME_BYTES = 128;

/** Replies that alone do not end the wait. */
const QUIET: ReadonlySet<Frame['type']> = new Set(['connected', 'subscribed']);

/** Frames that do not end the wait either: the next poll would return them again at once. */
const STANDING: ReadonlySet<Frame['type']> = new Set(['stalled', 'resumed']);

export interface PollLimits {
  /** The size at which a response is full, in bytes. */
  readonly bytes: number;
  /** How long to wait for news, in milliseconds. */
  readonly wait: number;
  /** Whether the response contains the quiet replies. Without them it depends on the positions only, and can be cached. */
  readonly replies: boolean;
}

type Phase =
  | { readonly name: 'answering'; readonly news: boolean }
  | { readonly name: 'waiting' }
  | { readonly name: 'ready' }
  | { readonly name: 'finished' };

export type PollPhase = Phase['name'];

export class PollTransport implements Transport {
  readonly frames: (Frame | EventsFrame)[] = [];
  readonly #bytes: number;
  readonly #wait: number;
  readonly #replies: boolean;
  readonly #onFinish: () => void;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #refusals: Refusal[] = [];
  #phase: Phase = { name: 'answering', news: false };
  #size = 0;
  /** Whether a channel was subscribed to. */
  #subscribed = false;
  /** Whether a check at the end of this turn is scheduled. */
  #checking = false;
  /** Why the gateway closed the connection. Then no frame is sent, and the client keeps its positions. */
  closed: Refusal | null = null;
  /** Whether more events can be read for the response. */
  behind: () => boolean = () => false;

  /** `onFinish` is called once, when `frames` is complete. */
  constructor({ bytes, wait, replies }: PollLimits, onFinish: () => void) {
    this.#bytes = bytes;
    this.#wait = wait;
    this.#replies = replies;
    this.#onFinish = onFinish;
  }

  get phase(): PollPhase {
    return this.#phase.name;
  }

  /**
   * Why the poll fails: no channel was subscribed to, or one cannot be served for now. A response without the position of
   * that channel would make a client that continues from the positions drop it.
   */
  get refused(): Refusal | null {
    return this.#refusals.find(({ code }) => !this.#subscribed || errors[code].outcome === 'retry') ?? null;
  }

  get writable(): boolean {
    return this.#size < this.#bytes;
  }

  /** All commands have their replies: the wait starts now. */
  answered(): void {
    if (this.#phase.name !== 'answering') return;
    this.#phase = { name: this.#phase.news ? 'ready' : 'waiting' };
    this.#after(this.#wait, () => this.#onNews());
    this.#after(Math.max(this.#wait, LOAD_TIME), () => this.#finish());
    this.#check();
  }

  send(frame: Frame | EventsFrame): void {
    // The client cannot send a new token during a poll. It sends it with the next one.
    const events = frame instanceof EventsFrame;
    if (!events && frame.type === 'paused') return this.#finish();
    if (events) this.#size += frame.text.length;
    else this.#read(frame);
    const quiet = !events && QUIET.has(frame.type);
    const standing = !events && STANDING.has(frame.type);
    if (!quiet && !standing) this.#onNews();
    if (!quiet || this.#replies) this.frames.push(frame);
    this.#check();
  }

  close(code: number, message: string): void {
    const ending = codeOfClose(code) ?? 'internal';
    this.closed = this.#refusals.find((refusal) => refusal.code === ending) ?? new Refusal(ending, message);
    this.#finish();
  }

  /** The response is no longer wanted. */
  gone(): void {
    this.#phase = { name: 'finished' };
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #read(frame: Frame): void {
    this.#size += FRAME_BYTES;
    this.#subscribed ||= frame.type === 'subscribed';
    if (frame.type === 'error' && isErrorCode(frame.code))
      this.#refusals.push(new Refusal(frame.code, frame.message, frame.retryAfter));
  }

  /** There is something to send, or the wait is over. */
  #onNews(): void {
    if (this.#phase.name === 'answering') this.#phase = { name: 'answering', news: true };
    if (this.#phase.name === 'waiting') this.#phase = { name: 'ready' };
  }

  #after(delay: number, task: () => void): void {
    this.#timers.push(
      setTimeout(() => {
        task();
        this.#check();
      }, delay),
    );
  }

  #check(): void {
    if (this.#checking) return;
    this.#checking = true;
    queueMicrotask(() => {
      this.#checking = false;
      if ((this.#phase.name === 'ready' && !this.behind()) || !this.writable) this.#finish();
    });
  }

  #finish(): void {
    if (this.#phase.name === 'finished') return;
    this.gone();
    this.#onFinish();
  }
}
