import {
  type Frame,
  formatPosition,
  type Position,
  type ResetReason,
  type Row,
  type Since,
} from '../protocol/index.js';
import type { ChannelReader, EventsFrame, Numbering } from '../subscription/shared-channel.js';

/** Where the frames for one tab go. */
export interface FrameOutput {
  /** Whether the tab keeps up. Frames other than events may be sent even if not. */
  readonly writable: boolean;
  send(frame: Frame): void;
}

export interface CursorOptions {
  readonly output: FrameOutput;
  /** The id of the command that asked for it. */
  readonly id: number;
  readonly channel: string;
  readonly since: Since;
  /** It cannot go on. */
  readonly onEnd: () => void;
}

/** The place of one subscription of another tab. It turns what the shared channel says into frames for the tab. */
export class Cursor implements ChannelReader {
  readonly channel: string;
  readonly id: number;
  readonly #output: FrameOutput;
  readonly #since: Since;
  readonly #onEnd: () => void;
  #place: Position | null = null;

  constructor({ output, id, channel, since, onEnd }: CursorOptions) {
    this.#output = output;
    this.id = id;
    this.channel = channel;
    this.#since = since;
    this.#onEnd = onEnd;
  }

  get place(): Position | null {
    return this.#place;
  }

  get since(): Since {
    return this.#place === null ? this.#since : formatPosition(this.#place);
  }

  get takesEvents(): boolean {
    return this.#output.writable;
  }

  onAsked(): void {}

  onSubscribed(place: Position, { epoch, head, floor }: Numbering): void {
    const { id, channel } = this;
    this.#place = place;
    this.#output.send({ type: 'subscribed', id, channel, epoch, head, floor });
  }

  onEvents(frame: EventsFrame): void {
    const { type, channel, from, events } = frame;
    const { epoch, seq } = this.#place ?? { epoch: '', seq: Number.POSITIVE_INFINITY };
    const to = from + events.length - 1;
    if (seq >= to) return;
    const fresh: readonly Row[] = events.slice(seq + 1 - from);
    // All tabs that stand at the same place get the same object, which is encoded once.
    this.#output.send(seq + 1 === from ? frame : { type, channel, from: seq + 1, events: fresh });
    this.#place = { epoch, seq: to };
  }

  onReset(reason: ResetReason, position: Position, message?: string): void {
    this.#place = position;
    const told = message === undefined ? {} : { message };
    this.#output.send({ type: 'reset', channel: this.channel, reason, position: formatPosition(position), ...told });
  }

  onStalled(code: string | null): void {
    const { channel } = this;
    this.#output.send(code === null ? { type: 'resumed', channel } : { type: 'stalled', channel, code });
  }

  /** The tab is told, and asks again by itself if that may help. */
  onRefused(code: string, message: string): boolean {
    const { id, channel } = this;
    this.#onEnd();
    this.#output.send(
      this.#place === null ? { type: 'error', id, code, message } : { type: 'unsubscribed', channel, code },
    );
    return false;
  }

  /** A tab that has not been answered yet is answered on the next connection. */
  onLost(): boolean {
    return this.#place === null || this.onRefused('unavailable', '');
  }
}
