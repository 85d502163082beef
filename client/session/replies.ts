import type { Reply } from '../protocol/index.js';

/** Numbers the commands of one connection, and passes each reply to the command that it answers. */
export class Replies {
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #lastId = 0;

  /** The id of the next command; `onReply` gets its reply. */
  add(onReply: (reply: Reply) => void = () => {}): number {
    this.#lastId += 1;
    this.#waiting.set(this.#lastId, onReply);
    return this.#lastId;
  }

  settle(id: number, reply: Reply): void {
    const onReply = this.#waiting.get(id);
    this.#waiting.delete(id);
    onReply?.(reply);
  }

  /** No reply comes any more. */
  clear(): void {
    this.#waiting.clear();
  }
}
