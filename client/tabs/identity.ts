/** Claims that differ between two tokens of the same principal, because they are about the token and its time. */
const TIMES = ['exp', 'iat', 'nbf', 'jti'];

/**
 * The principal that a token names, as text: all its claims except those about time. Tabs share a connection only if
 * this is the same, so that no tab reads with the rights of another principal (I5). The gateway verifies the signature.
 * Null if the token is no JWT, the empty text if there is no token.
 */
export function identityOf(token: string | undefined): string | null {
  if (token === undefined) return '';
  const [, payload = ''] = token.split('.');
  try {
    // The text is only compared, so it need not be decoded from UTF-8.
    const claims: unknown = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')));
    if (typeof claims !== 'object' || claims === null) return null;
    const lasting = Object.entries(claims).filter(([name]) => !TIMES.includes(name));
    return JSON.stringify(lasting.sort(([one], [other]) => (one < other ? -1 : 1)));
  } catch {
    return null;
  }
}
