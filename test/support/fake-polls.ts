import type { RowcastError } from '../../client/ground/error.js';
import type { Poll, PollResponse } from '../../client/polling/poll.js';
import { type Command, type Frame, formatPosition, parsePosition, type Row } from '../../client/protocol/index.js';

const EPOCH = 'e1';

/** The gateway refuses requests as a whole. `retryAfter` in milliseconds. */
interface Refusal {
  readonly error: RowcastError;
  readonly retryAfter: number | undefined;
}

/** `hangs`: no answer ever. `no database`: subscriptions are refused as unavailable. `cannot tell`: so is whoever asks. */
export type Health = 'works' | 'fails' | 'hangs' | 'no database' | 'cannot tell' | Refusal;

/** The door of a gateway for polls, without a network: each request is answered from the tables, or as the test says. */
export class FakePolls {
  readonly requests: (readonly Command[])[] = [];
  readonly aborted: AbortSignal[] = [];
  health: Health = 'works';
  /** An answer of so many events is full. */
  pageRows = 1_000;
  /** What happens while a request is on its way. */
  onRequest: () => void | Promise<void> = () => {};
  readonly #tables = new Map<string, Row[]>();
  #out = 0;
  /** How many requests were out at once, at most. */
  most = 0;

  write(channel: string, ...types: string[]): void {
    const rows = this.#tables.get(channel) ?? [];
    this.#tables.set(channel, rows.concat(types.map((event_type) => ({ event_type }))));
  }

  /** The channels that a request asked for. */
  asked(request = -1): string[] {
    return (this.requests.at(request) ?? []).flatMap((command) =>
      command.type === 'subscribe' ? [command.channel] : [],
    );
  }

  readonly poll: Poll = async (commands, signal) => {
    this.requests.push(commands);
    this.#out += 1;
    this.most = Math.max(this.most, this.#out);
    try {
      await this.onRequest();
      signal.throwIfAborted();
      if (this.health === 'hangs') await hang(signal);
      if (this.health === 'fails') throw new TypeError('fetch failed');
      if (typeof this.health === 'object') {
        const { error, retryAfter } = this.health;
        const { code, message } = error;
        const when = retryAfter === undefined ? {} : { retryAfter };
        return { frames: [{ type: 'error', code, message, ...when }], positions: {} };
      }
      if (this.health === 'cannot tell') return { frames: commands.map(refuseUnknown), positions: {} };
      return this.#answer(commands);
    } finally {
      this.#out -= 1;
      if (signal.aborted) this.aborted.push(signal);
    }
  };

  #answer(commands: readonly Command[]): PollResponse {
    const replies: Frame[] = [];
    const events: Frame[] = [];
    const positions: Record<string, string> = {};
    let room = this.pageRows;
    for (const command of commands) {
      if (command.type === 'connect') {
        const limits = { maxFrameBytes: 1, maxSubscriptions: 1_000 };
        replies.push({ type: 'connected', id: command.id, session: 's', heartbeat: 1, limits });
      }
      if (command.type !== 'subscribe') continue;
      const { id, channel, since = 'now' } = command;
      if (this.health === 'no database') {
        replies.push({ type: 'error', id, code: 'unavailable', message: 'no database' });
        continue;
      }
      if (channel.startsWith('unknown:')) {
        replies.push({ type: 'error', id, code: 'unknown_channel', message: 'unknown' });
        continue;
      }
      const rows = this.#tables.get(channel) ?? [];
      replies.push({ type: 'subscribed', id, channel, epoch: EPOCH, head: rows.length, floor: 1 });
      const after =
        parsePosition(since)?.seq ?? (since === 'now' ? rows.length : since === 'start' ? 0 : Number(since));
      const page = rows.slice(after, after + room);
      room -= page.length;
      if (page.length > 0) events.push({ type: 'events', channel, from: after + 1, events: page });
      positions[channel] = formatPosition({ epoch: EPOCH, seq: after + page.length });
    }
    return { frames: [...replies, ...events], positions };
  }
}

/** A gateway goes on after a `connect` that it refused. */
function refuseUnknown({ id, type }: Command): Frame {
  return { type: 'error', id, code: type === 'connect' ? 'unavailable' : 'not_connected', message: '' };
}

function hang(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
}
