import { isLoopback } from './settings/setting.js';

/** What a request says of itself, as Node gives it: `host` whom it asks, `origin` the page that asks, if it is one. */
export interface Asker {
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

/** Who may ask at all, by the page that asks; a program has no origin, and is judged by its token alone. */
export function admitting({ origins, local, cookie }: OriginPolicy): (asker: Asker) => boolean {
  if (local) return isLoopbackAsker;
  if (origins === '*') return () => true;
  const admitted = new Set(origins);
  return (asker) => asker.origin === undefined || admitted.has(asker.origin) || (!cookie && isOwn(asker));
}
