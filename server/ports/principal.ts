import type { IncomingMessage } from 'node:http';

/**
 * The database roles of principals: a client without a token, a user, a trusted service that may read and write everything,
 * and a worker, which may call functions and see no table.
 */
export const ROLES = ['anon', 'authenticated', 'service_role', 'agent_worker'] as const;
export type Role = (typeof ROLES)[number];

/** The identity behind a request. */
export interface Principal {
  /** Empty for a client without a token. */
  readonly subject: string;
  readonly role: Role;
  /** All claims as JSON text, which SQL reads from the setting `request.jwt.claims`. */
  readonly claims: string;
  /** Milliseconds since 1970; null if it never expires. */
  readonly expiresAt: number | null;
}

/** Returns a principal without a token. */
export function withoutToken(role: Role, sub?: string): Principal {
  return { subject: sub ?? '', role, claims: JSON.stringify({ sub, role }), expiresAt: null };
}

/** The principal of the gateway itself, for work that it does for several clients at once. */
export const SERVICE = withoutToken('service_role', 'rowcast');

/** What a client authenticates with. */
export interface Credentials {
  readonly token?: string | undefined;
  readonly ticket?: string | undefined;
}

export interface Authenticator {
  /** Rejects with `Refusal` (unauthorized, token_expired, token_not_yet_valid, unavailable). */
  authenticate(credentials: Credentials): Promise<Principal>;
}

/** Authenticates a request, and counts it against the rate of its principal. Rejects with `Refusal`. */
export type PrincipalOf = (request: Pick<IncomingMessage, 'headers'>) => Promise<Principal>;

/** Tickets: single-use, short-lived substitutes for a token in a URL. */
export interface Tickets {
  /** `expiresIn` in seconds. Rejects with `Unavailable`. */
  issue(principal: Principal): Promise<{ ticket: string; expiresIn: number }>;
  /** Consumes a ticket. Resolves to its principal, or to null if the ticket is not valid. Rejects with `Unavailable`. */
  redeem(ticket: string): Promise<Principal | null>;
}

/** A right to read a channel, until it is lost. */
export interface Permit {
  release(): void;
}

/**
 * Called when a right is lost, which then needs no `release`: `forbidden`; `policy_failed` if a policy or guard fails;
 * `unavailable` if the database could not be asked for too long.
 */
export type OnLost = (code: 'forbidden' | 'policy_failed' | 'unavailable') => void;

/** Grants rights to read channels, and revokes them when access changes. */
export interface Rights {
  /**
   * Resolves to a right to read `channel`. Calls `onLost` once when the right is lost, and never after `release`. Rejects
   * with `Refusal` (forbidden, policy_failed) or `Unavailable`.
   */
  hold(principal: Principal, channel: string, onLost: OnLost): Promise<Permit>;
}

/** The question whether a principal may read a channel. */
export interface AccessQuestion {
  readonly principal: Principal;
  readonly channel: string;
}

/** Decides access, in the database. */
export interface Authorizer {
  /**
   * `again`: subscriptions rely on an earlier yes. Such questions have a queue of their own, so that new subscriptions
   * cannot delay a revocation. Resolves to null if the policy or guard itself failed. Rejects with `Unavailable` while the
   * database cannot be reached.
   */
  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null>;
}
