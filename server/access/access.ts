import { Refusal } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { Authorizer, OnLost, Permit, Principal, Rights } from '../ports/principal.js';
import { Decision } from './decision.js';

export interface AccessOptions {
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  /** No decision that is relied on is older than this, in milliseconds, while the database answers. */
  readonly interval: number;
}

/** While it cannot be asked, a right is relied on for so many intervals. */
const LONGEST = 6;

/** Decisions that nobody relies on; with more, the one that was left longest ago is forgotten. */
const MAX_IDLE = 50_000;

type ByChannel = Map<string, Decision>;

/**
 * Who may read what, as Postgres decides it: remembered for a while, decided again on a schedule, and at once when the
 * doorbell says that somebody's rights have changed (I5).
 */
export class Access implements Rights {
  readonly #options: AccessOptions;
  /** By subject, then by its role and claims, which differ from token to token. */
  readonly #subjects = new Map<string, Map<string, ByChannel>>();
  readonly #idle = new Set<Decision>();
  #size = 0;
  #cancelTimer: () => void = () => {};

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#schedule();
  }

  /** Decisions that are remembered. */
  get size(): number {
    return this.#size;
  }

  async hold(principal: Principal, channel: string, onLost: OnLost): Promise<Permit> {
    const decision = this.#find(principal, channel);
    let granted = false;
    const holder: OnLost = (code) => {
      if (!granted) return; // it may be allowed after all, below
      this.#release(decision, holder);
      onLost(code);
    };
    // Before it is asked for, so that a change on the way is not missed.
    decision.hold(holder);
    this.#idle.delete(decision);
    try {
      const underWay = decision.asking;
      // A refusal is not remembered: the right may be given a moment later, and is to be good before the bell is heard.
      if (!decision.allowed || decision.age > this.#options.interval) await decision.ask();
      // What was under way already may have been asked before that.
      if (!decision.allowed && underWay) await decision.ask();
      if (!decision.allowed) throw new Refusal(decision.code);
    } catch (error) {
      this.#release(decision, holder);
      throw error;
    }
    granted = true;
    return { release: () => this.#release(decision, holder) };
  }

  /** The rights of a subject, or of everybody, are other ones now: what was decided is decided again. */
  changed(subject: string | null): void {
    const affected = subject === null ? [...this.#subjects.keys()] : [subject];
    for (const decision of affected.flatMap((name) => this.#decisionsOf(name))) {
      decision.overtake();
      if (decision.held) decision.askAgain();
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
        for (const decision of this.#decisionsOf(name)) if (decision.held) decision.askAgain();
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
    const { subject } = principal;
    const claims = claimsOf(principal);
    const byClaims = this.#subjects.get(subject) ?? new Map<string, ByChannel>();
    this.#subjects.set(subject, byClaims);
    const byChannel: ByChannel = byClaims.get(claims) ?? new Map();
    byClaims.set(claims, byChannel);
    let decision = byChannel.get(channel);
    if (decision === undefined) {
      const { authorizer, clock, interval } = this.#options;
      decision = new Decision({ principal, channel }, authorizer, clock, LONGEST * interval);
      byChannel.set(channel, decision);
      this.#size += 1;
    }
    return decision;
  }

  #drop(decision: Decision): void {
    const { channel, principal } = decision.question;
    const { subject } = principal;
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
