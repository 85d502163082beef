import { codeOfClose, errors, type Frame, isErrorCode } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import type { Transport } from '../ports/door.js';

/** How long pages of history may take to be read although nobody wants to wait, in milliseconds. */
const LOAD_TIME = 5_000;

/** What a frame that is not yet written is taken for, in bytes. */
const FRAME_BYTES = 128;

/** Replies that are no news by themselves. */
const QUIET: ReadonlySet<Frame['type']> = new Set(['connected', 'subscribed']);

export interface PollLimits {
  /** An answer of so many bytes is full. */
  readonly bytes: number;
  /** How long to wait for news, in milliseconds. */
  readonly wait: number;
  /** Whether replies that are no news belong into the answer. Without them it depends on the positions alone. */
  readonly replies: boolean;
}

/** Gathers frames for one answer: what there is, or the first that comes. */
export class PollTransport implements Transport {
  readonly frames: (Frame | Buffer)[] = [];
  readonly #limits: PollLimits;
  readonly #onFinish: () => void;
  readonly #timers: NodeJS.Timeout[] = [];
  #bytes = 0;
  #news = false;
  readonly #refusals: Refusal[] = [];
  #subscribed = false;
  #asked = false;
  #waited = false;
  #finished = false;
  #considering = false;
  /** Why the gateway ended the connection. What was gathered is not sent then: the client is still where it was. */
  closed: Refusal | null = null;
  /** Whether there is something that belongs into the answer and has not come yet. */
  behind: () => boolean = () => false;

  /** `onFinish` is called once. All that came in one turn is in `frames` then. */
  constructor(limits: PollLimits, onFinish: () => void) {
    this.#limits = limits;
    this.#onFinish = onFinish;
  }

  /**
   * Why there is nothing to answer: nothing was subscribed to, or a channel cannot be had just now. Positions that do
   * not name that one would let who goes on by them forget it.
   */
  get refused(): Refusal | null {
    return this.#refusals.find(({ code }) => !this.#subscribed || errors[code].outcome === 'retry') ?? null;
  }

  get writable(): boolean {
    return this.#bytes < this.#limits.bytes;
  }

  /** Every command has been answered: from here on the time runs. */
  asked(): void {
    if (this.#finished) return;
    this.#asked = true;
    this.#after(this.#limits.wait, () => {
      this.#waited = true;
    });
    this.#after(Math.max(this.#limits.wait, LOAD_TIME), () => this.#finish());
    this.#consider();
  }

  send(frame: Frame | Buffer): void {
    // Nobody shows a fresh token in the middle of a poll: the next one has it.
    if (!Buffer.isBuffer(frame) && frame.type === 'paused') return this.#finish();
    if (Buffer.isBuffer(frame)) this.#bytes += frame.length;
    else this.#hear(frame);
    const quiet = !Buffer.isBuffer(frame) && QUIET.has(frame.type);
    this.#news ||= !quiet;
    if (!quiet || this.#limits.replies) this.frames.push(frame);
    this.#consider();
  }

  close(code: number, message: string): void {
    const ending = codeOfClose(code) ?? 'internal';
    this.closed = this.#refusals.find((refusal) => refusal.code === ending) ?? new Refusal(ending, message);
    this.#finish();
  }

  /** The answer is not wanted any more. */
  gone(): void {
    this.#finished = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #hear(frame: Frame): void {
    this.#bytes += FRAME_BYTES;
    this.#subscribed ||= frame.type === 'subscribed';
    if (frame.type === 'error' && isErrorCode(frame.code))
      this.#refusals.push(new Refusal(frame.code, frame.message, frame.retryAfter));
  }

  #after(delay: number, task: () => void): void {
    this.#timers.push(
      setTimeout(() => {
        task();
        this.#consider();
      }, delay),
    );
  }

  #consider(): void {
    if (this.#considering) return;
    this.#considering = true;
    queueMicrotask(() => {
      this.#considering = false;
      const enough = this.#asked && (this.#news || this.#waited) && !this.behind();
      if (enough || !this.writable) this.#finish();
    });
  }

  #finish(): void {
    if (this.#finished) return;
    this.gone();
    this.#onFinish();
  }
}
