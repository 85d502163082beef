import type { IncomingMessage } from 'node:http';

/** The token of a request, if it has one. */
export function bearer({ headers }: Pick<IncomingMessage, 'headers'>): string | undefined {
  return /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
}
