import { type Frame, formatPosition, type Position, parsePosition } from '../../../client/protocol/index.js';
import type { Memory } from './memory.js';

/**
 * What a client without the library makes of the frames: one position per channel, and every event as it comes. It drops no
 * duplicate and asks for nothing again, so what the gateway does wrong is in the history.
 */
export class Frames {
  readonly #memory: Memory;
  readonly #positions = new Map<string, Position>();

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** All sessions begin. Coming back is the same session: what came before must not come again. */
  begin(): void {
    for (const channel of this.#memory.channels) this.#memory.begin(channel, 'start');
  }

  /** What to ask for. */
  since(channel: string): string {
    const position = this.#positions.get(channel);
    return position === undefined ? 'start' : formatPosition(position);
  }

  /** The next connection goes on here, whatever has been received. */
  goOn(channel: string, since: string): void {
    const position = parsePosition(since);
    if (position === null) this.#positions.delete(channel);
    else this.#positions.set(channel, position);
  }

  /** False where the connection is of no use any more. */
  take(frame: Frame): boolean {
    switch (frame.type) {
      case 'connected':
        this.#memory.connected();
        return true;
      case 'subscribed': {
        const { channel, epoch, floor } = frame;
        const position = this.#positions.get(channel) ?? { epoch, seq: floor - 1 };
        this.#positions.set(channel, position);
        this.#memory.subscribed(channel, formatPosition(position));
        return true;
      }
      case 'events': {
        const { channel, from, events } = frame;
        const { epoch = '' } = this.#positions.get(channel) ?? {};
        for (const [index, row] of events.entries()) this.#memory.event(channel, { epoch, seq: from + index }, row);
        this.#positions.set(channel, { epoch, seq: from + events.length - 1 });
        return true;
      }
      case 'reset':
        this.goOn(frame.channel, frame.position);
        this.#memory.reset(frame.channel, frame.reason, frame.position);
        return true;
      case 'unsubscribed':
      case 'error':
        // The database is away perhaps: a new connection asks again.
        return false;
      default:
        return true;
    }
  }
}
