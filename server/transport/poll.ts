import { codeOfClose, errors, type Frame, isErrorCode, parseFrame } from '../../client/protocol/index.js';
import type { Transport } from '../ports.js';
import { Refusal } from '../refusal.js';

/** How long pages of history may take to be read although nobody wants to wait, in milliseconds. */
const LOAD_TIME = 5_000;

/** Replies that are no news by themselves. */
const QUIET: ReadonlySet<Frame['type'] | undefined> = new Set(['connected', 'subscribed']);

export interface PollLimits {
  /** An answer of so many bytes is full. */
  readonly bytes: number;
  /** How long to wait for news, in milliseconds. */
  readonly wait: number;
}

/** Gathers frames for one answer: what there is, or the first that comes. */
export class PollTransport implements Transport {
  readonly frames: (string | Buffer)[] = [];
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

  send(frame: string | Buffer): void {
    this.frames.push(frame);
    this.#bytes += Buffer.byteLength(frame);
    const reply = typeof frame === 'string' ? parseFrame(frame) : null;
    this.#news ||= !QUIET.has(reply?.type);
    this.#subscribed ||= reply?.type === 'subscribed';
    if (reply?.type === 'error' && isErrorCode(reply.code)) this.#refusals.push(new Refusal(reply.code, reply.message));
    this.#consider();
  }

  close(code: number, message: string): void {
    this.closed = new Refusal(codeOfClose(code) ?? 'internal', message);
    this.#finish();
  }

  /** The answer is not wanted any more. */
  gone(): void {
    this.#finished = true;
    for (const timer of this.#timers) clearTimeout(timer);
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
