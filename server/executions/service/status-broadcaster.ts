import { advance, begin, type Progress, type ProgressState, viewOf } from '@rowcast/client/progress';
import { type Frame, formatPosition, parsePosition, type ResetReason, type Row } from '@rowcast/client/protocol';
import { type Logger, makeLogger } from '../../ground/logger.js';
import { type Clock, systemClock } from '../../ports/clock.js';
import type { InProcess } from '../../ports/door.js';
import { type Principal, SERVICE } from '../../ports/principal.js';

/** One row of a channel, in the form that the client library has. */
export interface BroadcastEvent {
  readonly channel: string;
  readonly seq: number;
  /** Where a reader stands that has this event: hand it to `since` to go on after it. */
  readonly position: string;
  /** The row's `event_type`, where the stream has such a column. */
  readonly type: string | undefined;
  readonly row: Row;
}

type Listener<T> = (value: T) => Promise<void> | void;

export interface BroadcastOptions {
  /** `start`, `now`, a seq or a position. Left out: `start` where progress is asked for, else `now`. */
  readonly since?: string;
  /** Who subscribes. Left out: a service that may read everything. */
  readonly principal?: Principal;
  /** While it is at work nothing more comes. What it throws is logged, as with the others, and the next event comes. */
  readonly onEvent?: Listener<BroadcastEvent>;
  /** What follows cannot be served from where it was asked for: fetch a snapshot; events go on after `position`. */
  readonly onReset?: Listener<{ readonly reason: ResetReason; readonly position: string }>;
  /** Of a channel `execution:<id>`: after each frame of events. */
  readonly onProgress?: Listener<Progress>;
  /** Nothing comes any more: the right was lost, the channel is gone, the gateway stops. Not called after `close`. */
  readonly onEnd?: Listener<string>;
}

export interface Broadcast {
  /** Nothing comes after it. */
  close(): void;
}

export interface BroadcasterOptions {
  readonly clock?: Clock;
  /** For what listeners throw. Left out: warnings on standard error. */
  readonly logger?: Logger;
}

/** Lets the process of the gateway subscribe to channels, in the way and with the promises of every client. */
export class StatusBroadcaster {
  readonly #door: InProcess;
  readonly #clock: Clock;
  readonly #logger: Logger;

  /** Of a gateway, or of the context that an extension is given. */
  constructor(
    { inProcess }: { readonly inProcess: InProcess },
    { clock = systemClock, logger = makeLogger('warn') }: BroadcasterOptions = {},
  ) {
    this.#door = inProcess;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Resolves when the channel is subscribed to. Rejects with `Refusal` (forbidden, unknown_channel, unavailable …). */
  async subscribe(channel: string, options: BroadcastOptions): Promise<Broadcast> {
    const { onEvent, onReset, onProgress, onEnd, principal = SERVICE } = options;
    const since = options.since ?? (onProgress === undefined ? 'now' : 'start');
    let epoch = '';
    let progress: ProgressState = begin();
    let open = true;
    const tell = async <T>(listener: Listener<T> | undefined, value: T) => {
      try {
        if (open) await listener?.(value);
      } catch (error) {
        this.#logger.error({ err: error, channel }, 'a subscriber in this process failed');
      }
    };
    const onFrame = async (frame: Frame) => {
      if (frame.type === 'subscribed') epoch = frame.epoch;
      if (frame.type === 'reset') {
        epoch = parsePosition(frame.position)?.epoch ?? epoch;
        progress = begin();
        await tell(onReset, { reason: frame.reason, position: frame.position });
      }
      if (frame.type !== 'events') return;
      for (const [index, row] of frame.events.entries()) {
        const seq = frame.from + index;
        const type = typeof row.event_type === 'string' ? row.event_type : undefined;
        await tell(onEvent, { channel, seq, position: formatPosition({ epoch, seq }), type, row });
        if (onProgress !== undefined) progress = advance(progress, { seq, row });
      }
      if (onProgress !== undefined) await tell(onProgress, viewOf(progress, this.#clock.now()));
    };
    const ended = (code: string) => void tell(onEnd, code);
    const leave = await this.#door.subscribe({ principal, channel, since, onFrame, onEnd: ended });
    return {
      close() {
        open = false;
        leave();
      },
    };
  }
}
