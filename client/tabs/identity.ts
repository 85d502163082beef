/** Claims that differ between two tokens of one principal: they say when and for how long, and not who. */
const TIMES = ['exp', 'iat', 'nbf', 'jti'];

/**
 * Whom a token stands for, as text: all its claims but those about time. Two tabs share a connection only if this is
 * the same, so that nobody reads with the rights of another one (I5). The signature is for the gateway to verify.
 * Null where the token is no JWT; without a token the empty text.
 */
export function identityOf(token: string | undefined): string | null {
  if (token === undefined) return '';
  const [, payload = ''] = token.split('.');
  try {
    // Not decoded from UTF-8: it is only compared.
    const claims: unknown = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')));
    if (typeof claims !== 'object' || claims === null) return null;
    const lasting = Object.entries(claims).filter(([name]) => !TIMES.includes(name));
    return JSON.stringify(lasting.sort(([one], [other]) => (one < other ? -1 : 1)));
  } catch {
    return null;
  }
}
