/**
 * The transport of one poll: gathers the frames of one response.
 *
 *                 all commands answered            news, or `wait` is over
 *   answering ──────────────────────────► waiting ─────────────────────────► ready ────► finished
 *       │                                                                      ▲
 *       └──────────────────────── all commands answered, with news ────────────┘
 *
 *   answering  commands have no reply yet; `news`: a frame came that is worth a response by itself
 *   waiting    the gateway has nothing to send
 *   ready      the response is sent as soon as nothing of it is still to be read
 *   finished   from each phase: the response is sent, or no longer wanted; no timer remains
 *
 * A full response, the deadline, and the end of the connection finish it from each phase.
 */
import { codeOfClose, errors, type Frame, isErrorCode } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import type { Transport } from '../ports/door.js';

/** How long pages of history may take to be read even if the client does not wait, in milliseconds. */
const LOAD_TIME = 5_000;

/** The size that a frame counts for that is not encoded yet, in bytes. */
const FRAME_BYTES = 128;

/** Replies that are no news by themselves. */
const QUIET: ReadonlySet<Frame['type']> = new Set(['connected', 'subscribed']);

export interface PollLimits {
  /** The size at which a response is full, in bytes. */
  readonly bytes: number;
  /** How long to wait for news, in milliseconds. */
  readonly wait: number;
  /** Whether the response has replies that are no news. Without them it depends on the positions alone. */
  readonly replies: boolean;
}

type Phase =
  | { readonly name: 'answering'; readonly news: boolean }
  | { readonly name: 'waiting' }
  | { readonly name: 'ready' }
  | { readonly name: 'finished' };

export type PollPhase = Phase['name'];

export class PollTransport implements Transport {
  readonly frames: (Frame | Buffer)[] = [];
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
  /** Whether this turn ends with a look at what came in it. */
  #looking = false;
  /** Why the gateway ended the connection. Then nothing is sent, and the client is still where it was. */
  closed: Refusal | null = null;
  /** Whether a part of the response is still to be read. */
  behind: () => boolean = () => false;

  /** `onFinish` is called once, when `frames` has all that came in one turn. */
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
   * Why there is no response: nothing was subscribed to, or a channel cannot be served for now. In that case a response
   * would not name the position of that channel, and a client that goes on by its positions would forget it.
   */
  get refused(): Refusal | null {
    return this.#refusals.find(({ code }) => !this.#subscribed || errors[code].outcome === 'retry') ?? null;
  }

  get writable(): boolean {
    return this.#size < this.#bytes;
  }

  /** All commands are answered: from now on the wait is counted. */
  asked(): void {
    if (this.#phase.name !== 'answering') return;
    this.#phase = { name: this.#phase.news ? 'ready' : 'waiting' };
    this.#after(this.#wait, () => this.#onNews());
    this.#after(Math.max(this.#wait, LOAD_TIME), () => this.#finish());
    this.#look();
  }

  send(frame: Frame | Buffer): void {
    // A fresh token cannot come in the middle of a poll: the next one brings it.
    if (!Buffer.isBuffer(frame) && frame.type === 'paused') return this.#finish();
    if (Buffer.isBuffer(frame)) this.#size += frame.length;
    else this.#read(frame);
    const quiet = !Buffer.isBuffer(frame) && QUIET.has(frame.type);
    if (!quiet) this.#onNews();
    if (!quiet || this.#replies) this.frames.push(frame);
    this.#look();
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
        this.#look();
      }, delay),
    );
  }

  #look(): void {
    if (this.#looking) return;
    this.#looking = true;
    queueMicrotask(() => {
      this.#looking = false;
      if ((this.#phase.name === 'ready' && !this.behind()) || !this.writable) this.#finish();
    });
  }

  #finish(): void {
    if (this.#phase.name === 'finished') return;
    this.gone();
    this.#onFinish();
  }
}
