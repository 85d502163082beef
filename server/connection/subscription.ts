import {
  type AnyErrorCode,
  askedPosition,
  type Frame,
  formatPosition,
  type Position,
  type ResetReason,
  startAt,
} from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import type { Channel, Reader } from '../hub/channel.js';
import type { Hub } from '../hub/hub.js';
import type { Permit, Principal, Rights } from '../ports/principal.js';
import { RefusedFrame } from './commands.js';

/** What a subscription needs of the connection that it belongs to. */
export interface Owner {
  readonly hub: Pick<Hub, 'hold' | 'release'>;
  readonly access: Rights;
  /** Whose rights count now. */
  readonly principal: Principal;
  /** The table is asked where a channel stands, even if the gateway has a place for it. */
  readonly fresh: boolean;
  send(frame: Frame): void;
  /** There is something to send of this subscription: it takes its turn. */
  ready(subscription: Subscription): void;
  /** It has ended. */
  remove(subscription: Subscription): void;
}

/** The right of another principal to the same channel, until it is known whether it takes the place of the old one. */
interface Renewal {
  permit: Permit | null;
  /** Why there is none. */
  refused: unknown;
}

/**
 * One channel of one connection: the right to read it, and a place in it. Replay and live delivery are the same: what
 * follows that place.
 *
 *     opening ──► reading ──► over      `opening`: the right is asked for, then the channel is looked up.
 *        └───────────────────────┘
 */
export class Subscription implements Reader {
  readonly name: string;
  readonly #since: string;
  readonly #owner: Owner;
  #state: 'opening' | 'reading' | 'over' = 'opening';
  #channel: Channel | null = null;
  /** The seq of the last event that was sent; null while the position that counts is still what was asked for. */
  #after: number | null = null;
  #permit: Permit | null = null;
  #renewal: Renewal | null = null;
  /** Why the right was lost while it was opening. */
  #lost: Refusal | null = null;

  constructor(name: string, since: string, owner: Owner) {
    this.name = name;
    this.#since = since;
    this.#owner = owner;
  }

  get after(): number {
    return this.#after ?? 0;
  }

  /** What to ask for, as `since`, to go on after what was sent. */
  get position(): string {
    const epoch = this.#channel?.state.epoch;
    return this.#after === null || epoch === undefined ? this.#since : formatPosition({ epoch, seq: this.#after });
  }

  /** There is something to send that has not been sent, or the subscription has not been answered. */
  get behind(): boolean {
    if (this.#state === 'over') return false;
    return this.#after === null || this.#channel === null || this.#after < this.#channel.state.head;
  }

  /** It has a right, which has to be asked for anew where another principal takes over. */
  get permitted(): boolean {
    return this.#permit !== null;
  }

  /** Holds the right of the principal as it is at the end: it may be another one by then. Rejects as `Access.hold`. */
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

  /** Looks the channel up, and answers the command `id`. Rejects with the refusal that is the answer. */
  async open(id: number): Promise<void> {
    const { hub, fresh } = this.#owner;
    const channel = await hub.hold(this.name);
    if (channel === null) throw this.#unknown();
    try {
      const asked = askedPosition(this.#since, channel.state);
      if (asked === null) throw new RefusedFrame('invalid_frame', 'since: start, now, a seq or a position', id);
      // The client may know more than this gateway has read so far: ask the table before calling it wrong.
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

  /**
   * Answers the command `id` and begins to read a channel that is held. Nothing in it may wait: the state in the answer
   * must be the one that it starts from (I4).
   */
  begin(id: number, channel: Channel): void {
    const { epoch, floor, head } = channel.state;
    const asked = askedPosition(this.#since, channel.state) ?? { epoch, seq: head };
    const { after, reset } = startAt(asked, channel.state);
    this.#state = 'reading';
    this.#channel = channel;
    channel.join(this);
    // Where the position is another than was asked for, it counts only from the reset on that says so.
    if (reset === null) this.#after = after;
    this.#owner.send({ type: 'subscribed', id, channel: this.name, epoch, head, floor });
    if (reset !== null) this.reset(reset, { epoch, seq: after });
    this.advance();
  }

  /** The next frame to send, moving past it; null where it is not in memory, and then the channel was asked for it. */
  take(): Buffer | null {
    const frame = this.#channel?.next(this.after) ?? null;
    if (frame === null) {
      if (this.behind) this.#channel?.want(this);
      return null;
    }
    this.#after = frame.to;
    return frame.data;
  }

  advance(): void {
    if (this.behind) this.#owner.ready(this);
  }

  reset(reason: ResetReason, position: Position): void {
    this.#after = position.seq;
    this.#owner.send({ type: 'reset', channel: this.name, reason, position: formatPosition(position) });
  }

  end(): void {
    this.#endWith('unknown_channel');
  }

  /** Lets go of everything. */
  close(): void {
    this.#state = 'over';
    this.#owner.remove(this);
    this.#permit?.release();
    if (this.#channel === null) return;
    this.#channel.leave(this);
    this.#owner.hub.release(this.#channel);
    this.#channel = null;
  }

  /** Asks for the right of another principal; it counts from `renew` on. Resolves to why there is none, or to null. */
  async askFor(principal: Principal): Promise<unknown> {
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

  /** The right that was asked for takes the place of the old one; without it the subscription ends. */
  renew(): void {
    const renewal = this.#renewal;
    if (renewal === null || renewal.refused !== null || this.#state === 'over') this.keep();
    else {
      this.#renewal = null;
      this.#permit?.release();
      this.#permit = renewal.permit;
    }
    if (renewal?.refused instanceof Refusal) this.#lose(renewal.refused);
  }

  /** The old right stays. */
  keep(): void {
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
