import { Refusal } from '../ground/refusal.js';
import { isLoopback } from '../settings/setting.js';
import { type Forwarded, isForwardedForOthers } from './forwarded.js';

/** Headers that say where a request comes from: the host it is sent to, the origin of the page that sends it, and what proxies add. */
export interface RequestOrigin extends Forwarded {
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
}

export type Origins = '*' | readonly string[];

export interface OriginPolicy {
  /** Origins whose pages are admitted. */
  readonly origins: Origins;
  /** There are no tokens: clients of this machine are trusted, and no others are admitted. */
  readonly local: boolean;
  /** Browsers send the token as a cookie, for any page that makes the request. */
  readonly cookie: boolean;
}

function isLoopbackOrigin(origin: string): boolean {
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname);
}

/** A foreign host name can resolve to this machine (DNS rebinding), which makes the foreign page one of the same origin. Browsers always send the name. */
function isFromLoopback({ host, origin }: RequestOrigin): boolean {
  return (
    (host === undefined || isLoopbackOrigin(`http://${host}`)) && (origin === undefined || isLoopbackOrigin(origin))
  );
}

/**
 * Whether the page was served from the gateway's own address. The scheme is ignored, because TLS ends in front of the gateway.
 * With cookies this does not count: an attacker on the network could use them from a page without TLS.
 */
function isSameHost({ host, origin }: RequestOrigin): boolean {
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

const FORWARDED =
  'a proxy forwards this from another machine, and without a key for tokens the gateway serves its own machine only';

/** Without a key. A proxy on this machine connects from a loopback address for all its clients. */
function refusalOfOthers(request: RequestOrigin): Refusal | null {
  if (isForwardedForOthers(request)) return new Refusal('forbidden_origin', FORWARDED);
  return isFromLoopback(request) ? null : new Refusal('forbidden_origin');
}

/** Returns why a request is refused, or null. Programs send no origin; their token alone decides. */
export function originPolicy({ origins, local, cookie }: OriginPolicy): (request: RequestOrigin) => Refusal | null {
  if (local) return refusalOfOthers;
  if (origins === '*') return () => null;
  const admitted = new Set(origins);
  return (request) => {
    const admits = request.origin === undefined || admitted.has(request.origin) || (!cookie && isSameHost(request));
    return admits ? null : new Refusal('forbidden_origin');
  };
}
