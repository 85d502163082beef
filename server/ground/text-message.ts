/** The lengths from which the header has a length field of its own: of 2 bytes, and of 8 (RFC 6455, section 5.2). */
const LONG = 126;
const LONGER = 65_536;

/** The first byte of the header: a text message that is one frame, neither compressed nor fragmented. */
const TEXT = 0x81;

/** Makes a WebSocket message of a server, which is not masked, of the parts of a text. `text` is the message after its header. */
export function textMessage(...parts: readonly (string | Buffer)[]): {
  readonly message: Buffer;
  readonly text: Buffer;
} {
  let length = 0;
  for (const part of parts) length += typeof part === 'string' ? Buffer.byteLength(part) : part.length;
  const header = length < LONG ? 2 : length < LONGER ? 4 : 10;
  const message = Buffer.allocUnsafe(header + length);
  message[0] = TEXT;
  if (length < LONG) message[1] = length;
  else if (length < LONGER) {
    message[1] = LONG;
    message.writeUInt16BE(length, 2);
  } else {
    message[1] = LONG + 1;
    message.writeBigUInt64BE(BigInt(length), 2);
  }
  let at = header;
  for (const part of parts) at += typeof part === 'string' ? message.write(part, at) : part.copy(message, at);
  return { message, text: message.subarray(header) };
}
