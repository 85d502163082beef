import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Request, Response } from 'express';

const gzipped = promisify(gzip);

/** A smaller answer fits into a packet or two anyway; in bytes. */
const THRESHOLD = 1_024;

/**
 * Ends an answer with a body, compressed where the client takes that. The body is whole: a stream is never compressed,
 * because what a compressor holds back would be neither sent nor counted against the send buffer (I6).
 */
export async function endCompressed(request: Request, response: Response, body: Buffer): Promise<void> {
  response.vary('Accept-Encoding');
  if (body.length < THRESHOLD || request.acceptsEncodings('gzip', 'identity') !== 'gzip') {
    response.end(body);
    return;
  }
  const smaller = await gzipped(body);
  response.set('Content-Encoding', 'gzip').end(smaller);
}
