/**
 * Reads the bodies of requests, which are JSON whatever their Content-Type. What a body may cost depends on who sends it: until the
 * client is known it is small, then its bytes count as requests and are bounded for each user.
 */
import type { IncomingMessage } from 'node:http';
import { Refusal } from '../ground/refusal.js';
import { HeldBytes } from '../limits/held-bytes.js';
import type { Principal } from '../ports/principal.js';

/** Maximum size of a body from a client that is not known, in bytes: the longest token, and 8 KiB. */
export const UNKNOWN_BYTES = 24 * 1024;

/** The bytes of a body that count as one more request. */
const REQUEST_BYTES = 16 * 1024;

const MIB = 1024 * 1024;
/** Bytes of bodies that are being read. */
const READING = { small: REQUEST_BYTES, ofOne: 8 * MIB, ofAll: 64 * MIB };

/** Counts a request as several. Throws `Refusal` (rate_limited). */
export type Charge = (request: IncomingMessage, principal: Principal, requests: number) => void;

/** A larger body than a client may send that is not known says who it is from. */
export type Identify = (request: IncomingMessage, begin: string) => Promise<Principal>;

export interface BodyOptions {
  readonly maxBytes: number;
  /** The error code of a body that cannot be read. A body that is not JSON has `invalid_json`. */
  readonly unreadable: 'invalid_frame' | 'invalid_request';
  readonly charge: Charge;
}

/** Resolves to the text of a body, for `parseBody`. Rejects with `Refusal`. */
export type BodyReader = (request: IncomingMessage, identify: Identify) => Promise<string>;

export function bodyReader({ maxBytes, unreadable, charge }: BodyOptions): BodyReader {
  const reading = new HeldBytes(READING, 'other requests of this user are being read');
  const readAll = async (request: IncomingMessage, identify: Identify): Promise<string> => {
    const declared = Number(request.headers['content-length'] ?? maxBytes);
    if (declared > maxBytes) throw new Refusal('frame_too_large', 'the body is too large');
    const body = new Body(request, unreadable);
    if (await body.readUpTo(Math.min(UNKNOWN_BYTES, maxBytes))) return body.text;
    const principal = await identify(request, body.text);
    reading.refuse(principal.subject, declared);
    charge(request, principal, Math.ceil(declared / REQUEST_BYTES));
    const release = reading.hold(principal.subject, declared);
    try {
      if (await body.readUpTo(maxBytes)) return body.text;
      throw new Refusal('frame_too_large', 'the body is too large');
    } finally {
      release();
    }
  };
  return async (request, identify) => {
    const { upgrade, 'content-encoding': encoding = '' } = request.headers;
    // Node treats all that follows an Upgrade header as the other protocol, so that the body would be empty.
    if (upgrade !== undefined) {
      throw new Refusal(unreadable, 'a request with a body must not have an Upgrade header');
    }
    if (!/^(identity)?$/i.test(encoding)) throw new Refusal(unreadable, 'a body must not be compressed');
    return readAll(request, identify);
  };
}

/** Parses the text of a body. Throws `Refusal`. */
export function parseBody(text: string, unreadable: BodyOptions['unreadable']): unknown {
  if (text === '') throw new Refusal('invalid_json', 'the body is empty');
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Refusal('invalid_json', 'the body is not JSON');
    throw error instanceof RangeError ? new Refusal(unreadable, 'the body is nested too deeply') : error;
  }
}

/** A body that is read as far as it is wanted; the rest waits in the socket. */
class Body {
  readonly #request: IncomingMessage;
  readonly #unreadable: BodyOptions['unreadable'];
  readonly #chunks: Buffer[] = [];
  #size = 0;

  constructor(request: IncomingMessage, unreadable: BodyOptions['unreadable']) {
    this.#request = request;
    this.#unreadable = unreadable;
  }

  /** What was read, without a byte order mark. */
  get text(): string {
    return new TextDecoder().decode(Buffer.concat(this.#chunks));
  }

  /** Reads until the end, or until there are more bytes than these. Resolves to whether the body has ended. */
  readUpTo(bytes: number): Promise<boolean> {
    const request = this.#request;
    if (request.readableEnded) return Promise.resolve(true);
    return new Promise((resolve, reject) => {
      const settle = (settled: () => void) => {
        request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose).pause();
        settled();
      };
      const onData = (chunk: Buffer) => {
        this.#chunks.push(chunk);
        this.#size += chunk.length;
        if (this.#size > bytes) settle(() => resolve(false));
      };
      const onEnd = () => settle(() => resolve(true));
      const onClose = () => settle(() => reject(new Refusal(this.#unreadable, 'the client has disconnected')));
      if (!request.readable) return onClose();
      request.on('data', onData).once('end', onEnd).once('close', onClose).once('error', onClose).resume();
    });
  }
}
