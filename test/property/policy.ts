import { Access } from '../../server/access/access.js';
import { Refusal, Unavailable } from '../../server/ground/refusal.js';
import { hashOfSubject } from '../../server/ground/subject-hash.js';
import type { AccessQuestion, Credentials, Principal } from '../../server/ports/principal.js';
import { Client, World } from './clients.js';

export const CHANNELS = ['message:a', 'message:b'];
const BUFFER = 500;
/** In milliseconds: how long a token is good, and how old a decision may be. */
export const TOKEN = 8_000;
export const INTERVAL = 20_000;

interface Question extends AccessQuestion {
  readonly at: number;
  /** Something rang since it was asked: it counts for nothing, unless it says no. */
  overtaken: boolean;
  answer(allowed: boolean | null | Error): void;
  /** What the snapshot of its statement saw, once it has begun, and when. */
  seen: { readonly allowed: boolean; readonly at: number } | null;
}

interface Verdict {
  readonly allowed: boolean;
  /** The step at which it was answered, and that of what it saw. */
  readonly at: number;
  readonly sawAt: number;
  /** By the clock, in milliseconds: a refusal is remembered for a second. */
  readonly time: number;
}

const REFUSED = 1_000;

/** Who may read what, and a database that says so when the test wants it to; what each token was told last is kept. */
class Policy {
  readonly #now: () => number;
  readonly #denied = new Set<string>();
  readonly questions: Question[] = [];
  readonly verdicts = new Map<string, Verdict>();
  /** By claims and channel, the question that was asked last. */
  readonly #latest = new Map<string, Question>();
  readonly rings = new Map<string, number>();
  step = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  readonly mayRead = (question: AccessQuestion): Promise<boolean | null> =>
    new Promise((resolve, reject) => {
      const answer = (allowed: boolean | null | Error) =>
        allowed instanceof Error ? reject(allowed) : resolve(allowed);
      const asked = { ...question, at: this.step, overtaken: false, answer, seen: null };
      this.questions.push(asked);
      this.#latest.set(keyOf(question), asked);
    });

  set(user: string, channel: string, allowed: boolean): void {
    if (allowed) this.#denied.delete(`${user} ${channel}`);
    else this.#denied.add(`${user} ${channel}`);
  }

  /** A token may be narrower than its user: it does not open the first channel. */
  allows({ principal, channel }: AccessQuestion): boolean {
    const narrow = principal.claims.includes('narrow') && channel === CHANNELS[0];
    return !narrow && !this.#denied.has(`${principal.subject} ${channel}`);
  }

  /** The doorbell says that the rights of a user have changed. */
  rang(user: string): void {
    this.rings.set(user, this.step);
    for (const question of this.questions) if (question.principal.subject === user) question.overtaken = true;
  }

  look(which: number): void {
    const question = this.questions[which % this.questions.length];
    if (question !== undefined) question.seen ??= { allowed: this.allows(question), at: this.step };
  }

  answer(which: number, how: 'answers' | 'fails' | 'away'): void {
    const [question] = this.questions.splice(which % Math.max(1, this.questions.length), 1);
    if (question === undefined) return;
    const { allowed: saw, at: sawAt } = question.seen ?? { allowed: this.allows(question), at: this.step };
    const allowed = how === 'answers' ? saw : null;
    const counts = (!question.overtaken || !allowed) && this.#latest.get(keyOf(question)) === question;
    if (counts && how !== 'away')
      this.verdicts.set(keyOf(question), { allowed: allowed === true, at: this.step, sawAt, time: this.#now() });
    question.answer(how === 'away' ? new Unavailable('the policy is away') : allowed);
  }
}

const keyOf = ({ principal, channel }: AccessQuestion) => `${principal.claims} ${channel}`;

/** A gateway whose database decides when the test says so. */
export class PolicyWorld extends World {
  readonly policy = new Policy(() => this.clock.now());
  override readonly access = new Access({ authorizer: this.policy, clock: this.clock, interval: INTERVAL });

  ring(user: string): void {
    this.policy.rang(user);
    this.access.changed(user === null ? null : hashOfSubject(user));
  }
}

/** Tokens are the JSON text of who shows them. */
async function authenticate({ token = '' }: Credentials): Promise<Principal> {
  const principal = JSON.parse(token) as Principal;
  if (principal.subject === '') throw new Refusal('unauthorized');
  return principal;
}

/** Holds what comes against what was decided (I5), after the client has held it against the protocol (I1–I4). */
export class Watched {
  readonly world: PolicyWorld;
  readonly user: string;
  readonly client: Client;
  paused = false;
  /** Of the token that counts, and of those that were shown to take its place. */
  #claims: readonly string[];
  readonly #shown = new Map<number, string>();
  /** When each `subscribe` was said: by then the user's rights had rung so and so. */
  readonly #rung = new Map<number, number>();
  /** The channel of each, and when it was said. */
  readonly #asked = new Map<number, { readonly channel: string; readonly at: number }>();
  /** Of every token that was shown. */
  readonly #expiry = new Map<string, number>();

  constructor(world: PolicyWorld, user: string) {
    this.world = world;
    this.user = user;
    this.client = new Client(world, { bufferBytes: BUFFER, authenticate });
    const { token, claims } = this.#token(user, false);
    this.#claims = [claims];
    this.client.say({ type: 'connect', protocol: 1, token });
  }

  get gone(): boolean {
    return this.client.transport.closed !== null;
  }

  #token(subject: string, narrow: boolean): { token: string; claims: string } {
    const now = this.world.clock.now();
    // Tokens of one user and one moment are one: what was decided for one connection counts for the other.
    const claims = JSON.stringify({ sub: subject, iat: now, ...(narrow && { scope: 'narrow' }) });
    const expiresAt = now + TOKEN;
    this.#expiry.set(claims, expiresAt);
    return { claims, token: JSON.stringify({ subject, role: 'authenticated', claims, expiresAt }) };
  }

  subscribe(channel: string, since: string): void {
    const rung = this.world.policy.rings.get(this.user) ?? Number.NEGATIVE_INFINITY;
    const id = this.client.say({ type: 'subscribe', channel, since });
    this.#rung.set(id, rung);
    this.#asked.set(id, { channel, at: this.world.policy.step });
  }

  refresh(subject: string, narrow: boolean): void {
    const { token, claims } = this.#token(subject, narrow);
    this.#shown.set(this.client.say({ type: 'refresh', token }), claims);
    this.#claims = [...this.#claims, claims];
  }

  /** When a token that may count by now was last allowed a channel; null where it is denied. */
  #allowedAt(channel: string): number | null {
    const allowed = this.#verdicts(channel, this.#claims).filter((verdict) => verdict.allowed);
    return allowed.length > 0 ? Math.max(...allowed.map(({ at }) => at)) : null;
  }

  #verdicts(channel: string, claims: Iterable<string>): Verdict[] {
    const verdicts = [...claims].map((claims) => this.world.policy.verdicts.get(`${claims} ${channel}`));
    return verdicts.filter((verdict) => verdict !== undefined);
  }

  check(): void {
    for (const frame of this.client.frames()) {
      if (frame.type === 'paused') this.paused = true;
      if (frame.type === 'refreshed') {
        this.paused = false;
        // From here on this one counts, and those that were shown after it.
        const index = this.#claims.indexOf(this.#shown.get(frame.id) ?? '');
        this.#claims = this.#claims.slice(Math.max(0, index));
      }
      const refused = frame.type === 'error' ? this.#claims.lastIndexOf(this.#shown.get(frame.id ?? -1) ?? '') : -1;
      if (refused >= 0) this.#claims = this.#claims.filter((_, index) => index !== refused);
      if (frame.type === 'events') {
        if (this.paused) throw new Error(`I5: events of ${frame.channel} between paused and refreshed`);
        if (this.#claims.every((claims) => (this.#expiry.get(claims) ?? 0) < this.world.clock.now()))
          throw new Error(`I5: events of ${frame.channel} by a token that has expired`);
        if (this.#allowedAt(frame.channel) === null) throw new Error(`I5: events of ${frame.channel}, which is denied`);
      }
      if (frame.type === 'error' && frame.code === 'forbidden') {
        const { channel, at } = this.#asked.get(frame.id ?? -1) ?? { channel: '', at: 0 };
        const rung = this.#rung.get(frame.id ?? -1) ?? Number.NEGATIVE_INFINITY;
        const remembered = ({ sawAt, time }: Verdict) => sawAt >= rung && time + REFUSED >= this.world.clock.now();
        const refusals = this.#verdicts(channel, this.#expiry.keys()).filter(({ allowed }) => !allowed);
        if (!refusals.some((verdict) => verdict.sawAt >= at || remembered(verdict)))
          throw new Error(`${channel} is refused by what was so before it was asked for`);
      }
      if (frame.type === 'subscribed') {
        const rung = this.#rung.get(frame.id) ?? Number.NEGATIVE_INFINITY;
        if ((this.#allowedAt(frame.channel) ?? Number.NEGATIVE_INFINITY) <= rung)
          throw new Error(`I5: ${frame.channel} is subscribed by what was decided before`);
      }
    }
  }

  /** By what the policy says now of the token that was shown last. */
  allowedNow(channel: string): boolean {
    const claims = this.#claims.at(-1) ?? '';
    const principal: Principal = { subject: this.user, role: 'authenticated', claims, expiresAt: null };
    return this.world.policy.allows({ principal, channel });
  }
}
