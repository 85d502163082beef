import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Request, Response } from 'express';

const gzipped = promisify(gzip);

/** Responses below this size are not compressed: they fit into a packet or two. In bytes. */
const THRESHOLD = 1_024;

/**
 * Ends a response with a body, compressed if the client accepts gzip. Only complete bodies are compressed. Bytes that
 * a compressor of a stream buffers would be neither sent nor counted against the send buffer (I6).
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
