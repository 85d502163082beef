import { Refusal } from '../ground/refusal.js';
import { isLoopback } from '../settings/setting.js';
import { type Forwarded, isForAnother } from './forwarded.js';

/** What a request says of itself, as Node gives it: `host` whom it asks, `origin` the page that asks, if it is one; and for whom. */
export interface Asker extends Forwarded {
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
}

export type Origins = '*' | readonly string[];

export interface OriginPolicy {
  /** The origins whose pages are admitted. */
  readonly origins: Origins;
  /** Nobody shows a token: who is on this machine is trusted, and nobody else. */
  readonly local: boolean;
  /** Browsers show a token by themselves, for whichever page it is that asks. */
  readonly cookie: boolean;
}

function isLoopbackOrigin(origin: string): boolean {
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname);
}

/** The name of a stranger may be made to lead here: its page would be one of this machine's own. A browser always says the name. */
function isLoopbackAsker({ host, origin }: Asker): boolean {
  return (
    (host === undefined || isLoopbackOrigin(`http://${host}`)) && (origin === undefined || isLoopbackOrigin(origin))
  );
}

/**
 * The page is one of the gateway's own address. Its scheme is not looked at, because TLS ends in front of the gateway: so
 * this does not count where there are cookies, which somebody on the way could then use from a page without TLS.
 */
function isOwn({ host, origin }: Asker): boolean {
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

const BROUGHT =
  'a proxy brings this from another machine, and without a key for tokens the gateway serves its own machine only';

/** Without a key. A proxy on this machine comes from a loopback address itself, whomever it brings. */
function refusingOthers(asker: Asker): Refusal | null {
  if (isForAnother(asker)) return new Refusal('forbidden_origin', BROUGHT);
  return isLoopbackAsker(asker) ? null : new Refusal('forbidden_origin');
}

/** Why somebody may not ask at all, or null: by the page that asks. A program has no origin, and is judged by its token alone. */
export function refusing({ origins, local, cookie }: OriginPolicy): (asker: Asker) => Refusal | null {
  if (local) return refusingOthers;
  if (origins === '*') return () => null;
  const admitted = new Set(origins);
  return (asker) => {
    const admits = asker.origin === undefined || admitted.has(asker.origin) || (!cookie && isOwn(asker));
    return admits ? null : new Refusal('forbidden_origin');
  };
}
