import type { IncomingMessage } from 'node:http';
import { Refusal } from '../ground/refusal.js';
import type { Authenticator } from '../ports/principal.js';
import { type Identify, UNKNOWN_BYTES } from './body.js';
import type { TokenOf } from './credentials.js';

/**
 * Returns who sends a body of commands, from its beginning: by the token of its first command, or else by that of the request.
 * The command is checked again later; here it only has to be there.
 */
export function identifyByFirst(authenticator: Authenticator, tokenOf: TokenOf): Identify {
  return async (request: IncomingMessage, begin: string) => {
    const { token, ticket } = firstOf(begin.slice(0, UNKNOWN_BYTES)) ?? {};
    if (ticket !== undefined) {
      throw new Refusal('frame_too_large', `a body with a ticket may have at most ${UNKNOWN_BYTES} bytes`);
    }
    return authenticator.authenticate({ token: typeof token === 'string' ? token : tokenOf(request) });
  };
}

/** Parses the first object of an array whose end is missing. Null if that object is not complete, or no object. */
function firstOf(begin: string): { readonly token?: unknown; readonly ticket?: unknown } | null {
  const from = /^\s*\[\s*(?=\{)/.exec(begin)?.[0].length;
  if (from === undefined) return null;
  let depth = 0;
  let quoted = false;
  for (let at = from; at < begin.length; at++) {
    const character = begin[at];
    if (quoted && character === '\\') at += 1;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && (character === '{' || character === '[')) depth += 1;
    else if (!quoted && (character === '}' || character === ']') && --depth === 0) {
      return parsed(begin.slice(from, at + 1));
    }
  }
  return null;
}

function parsed(text: string): ReturnType<typeof firstOf> {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
