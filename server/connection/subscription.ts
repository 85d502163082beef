/**
 * One subscription of a connection: the right to read a channel, and the cursor in it. It does not distinguish replay
 * from live delivery: it always sends the events that follow its cursor. The channel wakes it, and `Subscriptions` takes its
 * next frame when the transport is writable.
 */
import {
  type AnyErrorCode,
  askedPosition,
  type Frame,
  formatPosition,
  type Position,
  type ResetReason,
  startAt,
} from '@rowcast/client/protocol';
import { nothing } from '../ground/nothing.js';
import { Refusal } from '../ground/refusal.js';
import type { Channel } from '../hub/channel.js';
import type { Hub } from '../hub/hub.js';
import type { Reader } from '../hub/reader.js';
import type { EventsFrame } from '../ports/events-frame.js';
import type { Permit, Principal, Rights } from '../ports/principal.js';
import { RefusedFrame } from './commands.js';

/** The connection, as its subscriptions use it. */
export interface Owner {
  readonly hub: Pick<Hub, 'hold' | 'release' | 'whenReadable'>;
  readonly access: Rights;
  /** The current principal, whose rights apply. */
  readonly principal: Principal;
  /** Whether the state of a channel must be read from the table, even if it is in memory. */
  readonly fresh: boolean;
  send(frame: Frame): void;
  /** Queues the subscription, which has events to send. */
  ready(subscription: Subscription): void;
  /** Removes the subscription, which has ended. */
  remove(subscription: Subscription): void;
}

/** The requested right of a new principal to the same channel, until it replaces the old right or is discarded. */
interface Renewal {
  permit: Permit | null;
  /** Why the right was refused, or null. */
  refused: unknown;
}

/**
 *     opening ──► reading ──► over      `opening`: the right is requested, then the channel is opened.
 *        └───────────────────────┘
 */
export class Subscription implements Reader {
  readonly name: string;
  readonly #since: string;
  readonly #owner: Owner;
  #state: 'opening' | 'reading' | 'over' = 'opening';
  #channel: Channel | null = null;
  /** The seq of the last event sent; null while `#since` is still the position of the subscription. */
  #after: number | null = null;
  /** Whether it has sent everything that the channel had before the last movement. */
  #atHead = false;
  /** When the first event that was not sent yet became known, on the monotonic clock; null in a replay, and if there is none. */
  #knownAt: number | null = null;
  /** For how long the first event of the frame that was taken last has been known, in milliseconds; null in a replay. */
  age: number | null = null;
  /** The subscription whose turn to send is after this one. Undefined: this one has no turn. Null: it is the last. */
  next: Subscription | null | undefined;
  #permit: Permit | null = null;
  #renewal: Renewal | null = null;
  /** Whether the client was notified that the stream cannot be read. */
  #stalled = false;
  #cancelWait: () => void = nothing;
  /** Why the right was lost while `opening`. */
  #lost: Refusal | null = null;

  constructor(name: string, since: string, owner: Owner) {
    this.name = name;
    this.#since = since;
    this.#owner = owner;
  }

  get after(): number {
    return this.#after ?? 0;
  }

  /** The position after the last event sent, as a `since` to continue from. */
  get position(): string {
    const epoch = this.#channel?.state.epoch;
    return this.#after === null || epoch === undefined ? this.#since : formatPosition({ epoch, seq: this.#after });
  }

  /** Whether events are available that were not sent yet, or `subscribe` has no reply yet. */
  get behind(): boolean {
    return !this.#stalled && this.#unsent;
  }

  get #unsent(): boolean {
    if (this.#state === 'over') return false;
    return this.#after === null || this.#channel === null || this.#after < this.#channel.state.head;
  }

  /** Whether it holds a right, which must be requested again for a new principal. */
  get permitted(): boolean {
    return this.#permit !== null;
  }

  /** Requests the right of the current principal, again if a refresh has changed it in the meantime. Rejects as `Rights.hold`. */
  async permit(): Promise<void> {
    let principal: Principal;
    do {
      principal = this.#owner.principal;
      const permit = await this.#owner.access.hold(principal, this.name, (code) => this.#lose(new Refusal(code)));
      this.#permit?.release();
      this.#permit = permit;
      if (this.#state === 'over') return permit.release();
    } while (principal !== this.#owner.principal);
  }

  /** Opens the channel and replies to the command `id`. Rejects with the refusal that the caller must send as the reply. */
  async open(id: number): Promise<void> {
    const { hub, fresh } = this.#owner;
    const channel = await hub.hold(this.name);
    if (channel === null) throw this.#unknown();
    try {
      const asked = askedPosition(this.#since, channel.state);
      if (asked === null)
        throw new RefusedFrame('invalid_frame', 'since: start, now, a seq, a position, or -100 for the newest 100', id);
      // Another gateway may have sent the client events that this one has not read yet: check the table before a reset.
      const unread = asked.epoch !== channel.state.epoch || asked.seq > channel.state.head;
      if ((unread || fresh) && !(await channel.refresh())) throw this.#unknown();
      if (this.#lost !== null) throw this.#lost;
    } catch (error) {
      hub.release(channel);
      throw error;
    }
    if (this.#state === 'opening') return this.begin(id, channel);
    hub.release(channel);
    this.#owner.send({ type: 'unsubscribed', id, channel: this.name, code: 'requested' });
  }

  /** The stream cannot be read: notifies the client, and runs `task` when it may be tried again, unless the subscription has ended. */
  wait(task: () => void): void {
    this.stall();
    this.#cancelWait = this.#owner.hub.whenReadable(this.name, task);
  }

  /**
   * Replies to the command `id` and starts to read a channel that is held. It must stay synchronous: the state in the
   * reply must be the one that reading starts from (I4).
   */
  begin(id: number, channel: Channel): void {
    const { epoch, floor, head } = channel.state;
    const asked = askedPosition(this.#since, channel.state) ?? { epoch, seq: head };
    const { after, reset } = startAt(asked, channel.state);
    this.#state = 'reading';
    this.#channel = channel;
    channel.join(this);
    // If reading cannot start at the requested position, the new one is set together with the reset frame below.
    if (reset === null) this.#after = after;
    this.#owner.send({ type: 'subscribed', id, channel: this.name, epoch, head, floor });
    if (reset !== null) this.reset(reset, { epoch, seq: after });
    this.#stalled = false;
    this.#atHead = this.after === head;
    if (channel.stalled) this.stall();
    this.advance();
  }

  /** Returns the next frame to send, and moves the cursor past it. Null if it is not in memory; the channel then loads it. */
  take(): EventsFrame | null {
    const frame = this.#channel?.next(this.after) ?? null;
    if (frame === null) {
      if (this.#unsent) this.#channel?.want(this);
      return null;
    }
    this.age = this.#knownAt === null ? null : performance.now() - this.#knownAt;
    this.#after = frame.to;
    this.#atHead = !this.#unsent;
    if (this.#atHead) this.#knownAt = null;
    return frame;
  }

  advance(): void {
    if (!this.behind) return;
    if (this.#atHead) this.#knownAt ??= performance.now();
    this.#atHead = false;
    this.#owner.ready(this);
  }

  reset(reason: ResetReason, position: Position, message?: string): void {
    this.#after = position.seq;
    this.#knownAt = null;
    const explained = message === undefined ? {} : { message };
    this.#owner.send({ type: 'reset', channel: this.name, reason, position: formatPosition(position), ...explained });
  }

  stall(): void {
    if (this.#stalled || this.#state === 'over') return;
    this.#stalled = true;
    this.#owner.send({ type: 'stalled', channel: this.name, code: 'stream_unreadable' });
  }

  resume(): void {
    if (!this.#stalled || this.#state === 'over') return;
    this.#stalled = false;
    this.#owner.send({ type: 'resumed', channel: this.name });
    this.advance();
  }

  end(): void {
    this.#endWith('unknown_channel');
  }

  /** Releases the right and the channel. */
  close(): void {
    this.#state = 'over';
    this.#cancelWait();
    this.#owner.remove(this);
    this.#permit?.release();
    if (this.#channel === null) return;
    this.#channel.leave(this);
    this.#owner.hub.release(this.#channel);
    this.#channel = null;
  }

  /** Requests the right of a new principal, which `renew` puts into effect. Resolves to null, or to the error if it is refused. */
  async requestRenewal(principal: Principal): Promise<unknown> {
    const renewal: Renewal = { permit: null, refused: null };
    this.#renewal = renewal;
    try {
      renewal.permit = await this.#owner.access.hold(principal, this.name, (code) => {
        if (this.#renewal === renewal) renewal.refused = new Refusal(code);
        else this.#lose(new Refusal(code));
      });
    } catch (error) {
      renewal.refused = error;
    }
    return renewal.refused;
  }

  /** Replaces the old right by the requested one. If that was refused, the subscription ends. */
  renew(): void {
    const renewal = this.#renewal;
    if (renewal === null || renewal.refused !== null || this.#state === 'over') this.discardRenewal();
    else {
      this.#renewal = null;
      this.#permit?.release();
      this.#permit = renewal.permit;
    }
    if (renewal?.refused instanceof Refusal) this.#lose(renewal.refused);
  }

  /** Discards the requested right and keeps the old one. */
  discardRenewal(): void {
    this.#renewal?.permit?.release();
    this.#renewal = null;
  }

  #lose(refusal: Refusal): void {
    if (this.#state === 'opening') this.#lost = refusal;
    else if (this.#state === 'reading') this.#endWith(refusal.code);
  }

  #endWith(code: AnyErrorCode): void {
    this.close();
    this.#owner.send({ type: 'unsubscribed', channel: this.name, code });
  }

  #unknown(): Refusal {
    return new Refusal('unknown_channel', `there is no channel ${this.name}`);
  }
}
