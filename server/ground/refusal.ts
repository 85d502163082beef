import { type AnyErrorCode, errors } from '@rowcast/client/protocol';

/** A refusal with a code from the one table of errors. Its message goes to the client: no SQL, no secret. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: AnyErrorCode;
  /** When to come back, in milliseconds from now; 0 where there is no such time. */
  readonly retryAfter: number;

  constructor(code: AnyErrorCode, message: string = errors[code].meaning, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The database cannot be reached. Its message is for the log: a client is told no more than the code `unavailable`. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
}

/** What a client is told of an error. One that nobody has foreseen is `internal`: the caller logs it. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal(error instanceof Unavailable ? 'unavailable' : 'internal');
}

/** When to come back to a gateway that cannot serve now and does not know until when, in milliseconds. */
const SOON = 1_000;

const LATER: ReadonlySet<AnyErrorCode> = new Set([
  'rate_limited',
  'too_many_connections',
  'unavailable',
  'shutting_down',
]);

/** For the header `Retry-After`: when to come back, in whole seconds; 0 where there is no use in that. */
export function secondsUntilRetry({ code, retryAfter }: Pick<Refusal, 'code' | 'retryAfter'>): number {
  return Math.ceil((retryAfter || (LATER.has(code) ? SOON : 0)) / 1000);
}

/** A whole HTTP answer, for a socket on which there is no request to answer; `status` as in `431 Request Header Fields Too Large`. */
export function bareAnswer(status: string, refusal: Refusal): string {
  const { code, message } = refusal;
  const body = JSON.stringify({ error: { code, message } });
  const seconds = secondsUntilRetry(refusal);
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...(seconds > 0 ? [`Retry-After: ${seconds}`] : []),
  ];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}
