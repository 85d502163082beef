import type { IncomingMessage } from 'node:http';

/** The database role that a principal acts as: nobody known, a user, a service that is trusted with everything. */
export const ROLES = ['anon', 'authenticated', 'service_role'] as const;
export type Role = (typeof ROLES)[number];

/** Who asks. */
export interface Principal {
  readonly subject: string;
  readonly role: Role;
  /** All claims as JSON text: what SQL finds in `request.jwt.claims`. */
  readonly claims: string;
  /** Milliseconds since 1970; null where it never expires. */
  readonly expiresAt: number | null;
}

/** One whom no token names. An empty subject is that of no token. */
export function withoutToken(role: Role, sub?: string): Principal {
  return { subject: sub ?? '', role, claims: JSON.stringify({ sub, role }), expiresAt: null };
}

/** The gateway itself, for what it does on nobody's behalf alone. */
export const SERVICE = withoutToken('service_role', 'rowcast');

/** What a client shows to be known. */
export interface Credentials {
  readonly token?: string | undefined;
  readonly ticket?: string | undefined;
}

export interface Authenticator {
  /** Rejects with `Refusal` (unauthorized, token_expired, token_not_yet_valid, unavailable). */
  authenticate(credentials: Credentials): Promise<Principal>;
}

/** The principal of a request, which counts as one that it may make. Rejects with `Refusal`. */
export type PrincipalOf = (request: Pick<IncomingMessage, 'headers'>) => Promise<Principal>;

/** What stands for a token where that would stand in an address: good for one use, and not for long. */
export interface Tickets {
  /** `expiresIn` in seconds. Rejects with `Unavailable`. */
  issue(principal: Principal): Promise<{ ticket: string; expiresIn: number }>;
  /** Whom it was issued to, once; null where it is not good. Rejects with `Unavailable`. */
  redeem(ticket: string): Promise<Principal | null>;
}

/** A right to read a channel, until it is lost. */
export interface Permit {
  release(): void;
}

/** Told when a right is lost, which is given back then: `forbidden`, or `unavailable` where it cannot be decided. */
export type OnLost = (code: 'forbidden' | 'unavailable') => void;

/** The rights to read channels, as they are now. */
export interface Rights {
  /**
   * Resolves to a right to read. `onLost` is called once when it is lost, and not after `release`. Rejects with
   * `Refusal` (forbidden, unavailable) or `Unavailable`.
   */
  hold(principal: Principal, channel: string, onLost: OnLost): Promise<Permit>;
}

/** Whether a principal may read a channel. */
export interface AccessQuestion {
  readonly principal: Principal;
  readonly channel: string;
}

export interface Authorizer {
  /**
   * `again`: somebody relies on the answer that was yes before. Null where the policy itself failed. Rejects with
   * `Unavailable` while the database cannot be reached.
   */
  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null>;
}
