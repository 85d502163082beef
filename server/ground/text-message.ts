/** The lengths from which the header has a length field of its own: of 2 bytes, and of 8 (RFC 6455, section 5.2). */
const LONG = 126;
const LONGER = 65_536;

/** The first byte of the header: a text message that is one frame, neither compressed nor fragmented. */
const TEXT = 0x81;

/** Encodes a text as a WebSocket message of a server, whose messages are not masked. `text` is the part after the header. */
export function textMessage(json: string): { readonly message: Buffer; readonly text: Buffer } {
  const length = Buffer.byteLength(json);
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
  message.write(json, header);
  return { message, text: message.subarray(header) };
}
