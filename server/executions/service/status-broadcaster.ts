/**
 * Subscribes code in the process of the gateway to channels, with the access checks and guarantees of every client.
 * Listeners run one after the other; while one runs, further events wait. Public in `rowcast/server`.
 */
import { advance, begin, type Progress, type ProgressState, viewOf } from '@rowcast/client/progress';
import { type Frame, formatPosition, parsePosition, type ResetReason, type Row } from '@rowcast/client/protocol';
import { type Logger, makeLogger } from '../../ground/logger.js';
import { type Clock, systemClock } from '../../ports/clock.js';
import type { InProcess } from '../../ports/door.js';
import { type Principal, SERVICE } from '../../ports/principal.js';

/** One event of a channel, in the same form as in the client library. */
export interface BroadcastEvent {
  readonly channel: string;
  readonly seq: number;
  /** The position of the event: pass it as `since` to continue after it. */
  readonly position: string;
  /** The `event_type` of the row, if the stream has such a column. */
  readonly type: string | undefined;
  readonly row: Row;
}

type Listener<T> = (value: T) => Promise<void> | void;

export interface BroadcastOptions {
  /** `start`, `now`, a seq or a position. Default: `start` with `onProgress`, otherwise `now`. */
  readonly since?: string;
  /** The principal that subscribes. Default: a service that may read everything. */
  readonly principal?: Principal;
  /** Called for each event. The next one waits until it resolves. Errors of listeners are logged, and delivery continues. */
  readonly onEvent?: Listener<BroadcastEvent>;
  /** The requested position cannot be served: read a new snapshot. Delivery continues after `position`. */
  readonly onReset?: Listener<{ readonly reason: ResetReason; readonly position: string }>;
  /** For channels `execution:<id>`: called after each frame of events. */
  readonly onProgress?: Listener<Progress>;
  /** The subscription has ended: the right was lost, the channel no longer exists, or the gateway stops. Not called after `close`. */
  readonly onEnd?: Listener<string>;
}

export interface Broadcast {
  /** Ends the subscription. No listener is called after this. */
  close(): void;
}

export interface BroadcasterOptions {
  readonly clock?: Clock;
  /** Logs the errors of listeners. Default: to standard error. */
  readonly logger?: Logger;
}

export class StatusBroadcaster {
  readonly #door: InProcess;
  readonly #clock: Clock;
  readonly #logger: Logger;

  /** Takes a gateway, or the context of an extension. */
  constructor(
    { inProcess }: { readonly inProcess: InProcess },
    { clock = systemClock, logger = makeLogger('warn') }: BroadcasterOptions = {},
  ) {
    this.#door = inProcess;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Resolves when the subscription is active. Rejects with `Refusal` (forbidden, unknown_channel, unavailable and others). */
  async subscribe(channel: string, options: BroadcastOptions): Promise<Broadcast> {
    const { onEvent, onReset, onProgress, onEnd, principal = SERVICE } = options;
    const since = options.since ?? (onProgress === undefined ? 'now' : 'start');
    let epoch = '';
    let progress: ProgressState = begin();
    let open = true;
    const notify = async <T>(listener: Listener<T> | undefined, value: T) => {
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
        await notify(onReset, { reason: frame.reason, position: frame.position });
      }
      if (frame.type !== 'events') return;
      for (const [index, row] of frame.events.entries()) {
        const seq = frame.from + index;
        const type = typeof row.event_type === 'string' ? row.event_type : undefined;
        await notify(onEvent, { channel, seq, position: formatPosition({ epoch, seq }), type, row });
        if (onProgress !== undefined) progress = advance(progress, { seq, row });
      }
      if (onProgress !== undefined) await notify(onProgress, viewOf(progress, this.#clock.now()));
    };
    const ended = (code: string) => void notify(onEnd, code);
    const leave = await this.#door.subscribe({ principal, channel, since, onFrame, onEnd: ended });
    return {
      close() {
        open = false;
        leave();
      },
    };
  }
}
