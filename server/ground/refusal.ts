import { type AnyErrorCode, errors } from '@rowcast/client/protocol';

/** An error of the table of errors. Its message is sent to the client, and must contain neither SQL nor secrets. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: AnyErrorCode;
  /** The retry hint in milliseconds; 0 if there is none. */
  readonly retryAfter: number;

  constructor(code: AnyErrorCode, message: string = errors[code].meaning, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The database cannot be reached. The message is logged only; clients get the code `unavailable`. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
}

/** The table of a stream, or the rows of one channel in it, cannot be read at present; others can. `cause` is logged only. */
export class StreamUnreadable extends Refusal {
  override readonly cause: unknown;

  constructor(stream: string, { cause }: { readonly cause: unknown }) {
    super('stream_unreadable', `the stream ${stream} cannot be read at present; others can`);
    this.cause = cause;
  }
}

/** Returns the refusal that a client gets for an error. Unexpected errors become `internal`, and the caller logs them. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal(error instanceof Unavailable ? 'unavailable' : 'internal');
}

/** The retry hint of an error that is temporary but has no hint of its own, in milliseconds. */
const DEFAULT_RETRY = 1_000;

/** Errors that are temporary. */
const TEMPORARY: ReadonlySet<AnyErrorCode> = new Set([
  'rate_limited',
  'too_many_connections',
  'unavailable',
  'stream_unreadable',
  'policy_failed',
  'shutting_down',
]);

/** Returns the value of the header `Retry-After` in whole seconds; 0 if the request should not be retried. */
export function secondsUntilRetry({ code, retryAfter }: Pick<Refusal, 'code' | 'retryAfter'>): number {
  return Math.ceil((retryAfter || (TEMPORARY.has(code) ? DEFAULT_RETRY : 0)) / 1000);
}

/** Returns the text of a complete HTTP response, for a socket without a parsed request. `status` is a status line such as `431 Request Header Fields Too Large`. */
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
