/**
 * Caches access decisions of PostgreSQL, and grants the rights of subscriptions from them (I5). A decision that a
 * subscription relies on is checked again after every interval, and at once when the doorbell reports a change of access;
 * if the new decision is no, every holder of the right is notified. The connection holds a right for each subscription.
 */
import { Refusal } from '../ground/refusal.js';
import { hashOfSubject } from '../ground/subject-hash.js';
import type { Clock } from '../ports/clock.js';
import type { Authorizer, OnLost, Permit, Principal, Rights } from '../ports/principal.js';
import { Decision } from './decision.js';

export interface AccessOptions {
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  /** Maximum age of a decision in use while the database can be reached, in milliseconds. */
  readonly interval: number;
}

/** How long a decision stays valid while the database cannot be reached, in intervals. */
const MAX_INTERVALS = 6;

/** How long a refusal is remembered, in milliseconds. */
const REFUSED = 1_000;

/** Maximum number of cached decisions that are not in use. Beyond it, the one that was released first is dropped. */
const MAX_IDLE = 50_000;

type ByChannel = Map<string, Decision>;

export class Access implements Rights {
  readonly #options: AccessOptions;
  /** By the hash of the subject, then by role and claims, which differ between tokens of the same subject. */
  readonly #subjects = new Map<string, Map<string, ByChannel>>();
  readonly #idle = new Set<Decision>();
  #size = 0;
  #cancelTimer: () => void = () => {};

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#schedule();
  }

  /** The number of cached decisions. */
  get size(): number {
    return this.#size;
  }

  async hold(principal: Principal, channel: string, onLost: OnLost): Promise<Permit> {
    const decision = this.#find(principal, channel);
    let granted = false;
    const holder: OnLost = (code) => {
      if (!granted) return; // `hold` has not decided yet, and may ask a second time
      this.#release(decision, holder);
      onLost(code);
    };
    // Before the question is sent, so that a change in the meantime is not missed.
    decision.hold(holder);
    this.#idle.delete(decision);
    try {
      const underWay = decision.asking;
      // A right that was granted since counts after a second, or when the doorbell reports the change.
      if (decision.age > (decision.allowed ? this.#options.interval : REFUSED)) await decision.ask();
      // A question that was already under way may have been decided before the right was granted.
      if (!decision.allowed && underWay) await decision.ask();
      if (!decision.allowed) throw new Refusal(decision.code);
    } catch (error) {
      this.#release(decision, holder);
      throw error;
    }
    granted = true;
    return { release: () => this.#release(decision, holder) };
  }

  /** Invalidates the decisions of a subject whose access has changed, by its hash, or of all subjects (null), and checks those in use again. */
  changed(subjectHash: string | null): void {
    const affected = subjectHash === null ? [...this.#subjects.keys()] : [subjectHash];
    for (const decision of affected.flatMap((name) => this.#decisionsOf(name))) {
      decision.invalidate();
      if (decision.held) decision.recheck();
    }
  }

  stop(): void {
    this.#cancelTimer();
    for (const name of this.#subjects.keys()) for (const decision of this.#decisionsOf(name)) decision.stop();
  }

  #schedule(): void {
    this.#cancelTimer = this.#options.clock.after(this.#options.interval, () => {
      for (const decision of this.#idle) if (decision.age > this.#options.interval) this.#drop(decision);
      for (const name of this.#subjects.keys())
        for (const decision of this.#decisionsOf(name)) if (decision.held) decision.recheck();
      this.#schedule();
    });
  }

  #release(decision: Decision, holder: OnLost): void {
    if (!decision.release(holder) || decision.held) return;
    this.#idle.add(decision);
    const [oldest] = this.#idle;
    if (this.#idle.size > MAX_IDLE && oldest !== undefined) this.#drop(oldest);
  }

  #decisionsOf(subject: string): Decision[] {
    return [...(this.#subjects.get(subject)?.values() ?? [])].flatMap((channels) => [...channels.values()]);
  }

  #find(principal: Principal, channel: string): Decision {
    const subject = hashOfSubject(principal.subject);
    const claims = claimsOf(principal);
    const byClaims = this.#subjects.get(subject) ?? new Map<string, ByChannel>();
    this.#subjects.set(subject, byClaims);
    const byChannel: ByChannel = byClaims.get(claims) ?? new Map();
    byClaims.set(claims, byChannel);
    let decision = byChannel.get(channel);
    if (decision === undefined) {
      const { authorizer, clock, interval } = this.#options;
      decision = new Decision({ principal, channel }, authorizer, clock, MAX_INTERVALS * interval);
      byChannel.set(channel, decision);
      this.#size += 1;
    }
    return decision;
  }

  #drop(decision: Decision): void {
    const { channel, principal } = decision.question;
    const subject = hashOfSubject(principal.subject);
    const claims = claimsOf(principal);
    const byClaims = this.#subjects.get(subject);
    const byChannel = byClaims?.get(claims);
    this.#idle.delete(decision);
    if (byChannel?.delete(channel)) this.#size -= 1;
    if (byChannel?.size === 0) byClaims?.delete(claims);
    if (byClaims?.size === 0) this.#subjects.delete(subject);
  }
}

function claimsOf({ role, claims }: Principal): string {
  return `${role} ${claims}`;
}
