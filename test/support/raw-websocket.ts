import { connect, type Socket } from 'node:net';

export const TEXT = 0x1;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

export interface FrameForm {
  readonly fin?: boolean;
  /** The three reserved bits. */
  readonly rsv?: number;
  readonly masked?: boolean;
  /** What the header says; else how long the payload is. */
  readonly length?: number | bigint;
}

const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** The bytes of one WebSocket frame of a client, right or wrong. */
export function encodeFrame(
  opcode: number,
  payload: Uint8Array,
  { fin = true, rsv = 0, masked = true, length = payload.length }: FrameForm = {},
): Buffer {
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const bit = masked ? 0x80 : 0;
  let header: Buffer;
  if (length < 126) {
    header = Buffer.from([first, bit | Number(length)]);
  } else if (length < 65_536) {
    header = Buffer.from([first, bit | 126, 0, 0]);
    header.writeUInt16BE(Number(length), 2);
  } else {
    header = Buffer.concat([Buffer.from([first, bit | 127]), Buffer.alloc(8)]);
    header.writeBigUInt64BE(BigInt(length), 2);
  }
  if (!masked) return Buffer.concat([header, payload]);
  const data = Buffer.from(payload);
  for (let at = 0; at < data.length; at++) data[at] = (data[at] ?? 0) ^ (MASK[at % 4] ?? 0);
  return Buffer.concat([header, MASK, data]);
}

export function closePayload(code: number, reason: string | Uint8Array = ''): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(code);
  return Buffer.concat([bytes, typeof reason === 'string' ? Buffer.from(reason) : reason]);
}

export interface RawWebSocket {
  readonly socket: Socket;
  /** The code of the close frame of the other side; 1005 where it had none, 1006 where there was no close frame. */
  readonly closed: Promise<number>;
}

/** A WebSocket whose every byte is in the hands of the test. Resolves when the upgrade was accepted. */
export async function openRawWebSocket(
  url: string,
  onFrame: (opcode: number, payload: Buffer) => void,
): Promise<RawWebSocket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  socket.on('error', () => {}); // a close event follows
  socket.write(
    `GET /v1/ws HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  let code = 1006;
  let rest: Buffer = Buffer.alloc(0);
  const take = () => {
    for (;;) {
      const frame = decodeFrame(rest);
      if (frame === null) return;
      rest = rest.subarray(frame.size);
      if (frame.opcode === CLOSE) {
        code = frame.payload.length < 2 ? 1005 : frame.payload.readUInt16BE();
        socket.end(encodeFrame(CLOSE, frame.payload.subarray(0, 2)));
      } else {
        onFrame(frame.opcode, frame.payload);
      }
    }
  };
  const closed = new Promise<number>((resolve) => socket.on('close', () => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    let upgraded = false;
    socket.on('close', () => reject(new Error(`the upgrade was not answered: ${rest.subarray(0, 200)}`)));
    socket.on('data', (data: Buffer) => {
      rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
      if (!upgraded) {
        const end = rest.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = rest.subarray(0, end).toString();
        if (!head.startsWith('HTTP/1.1 101')) return reject(new Error(head));
        upgraded = true;
        rest = rest.subarray(end + 4);
        resolve();
      }
      take();
    });
  });
  return { socket, closed };
}

function decodeFrame(bytes: Buffer): { opcode: number; payload: Buffer; size: number } | null {
  if (bytes.length < 2) return null;
  const short = (bytes[1] ?? 0) & 0x7f;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < start) return null;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  const size = start + length;
  if (bytes.length < size) return null;
  return { opcode: (bytes[0] ?? 0) & 0x0f, payload: bytes.subarray(start, size), size };
}
