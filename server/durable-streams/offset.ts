import { formatPosition, parsePosition, type Since } from '@rowcast/client/protocol';

/** A seq has at most so many digits; with all of them written, the order of the texts is that of the numbers. */
const DIGITS = 16;

const OFFSET = /^([a-z0-9]{1,16})_(\d{16})$/;

/** Where a reader stands, as the Durable Streams protocol writes it: `"58326d.41"` → `"58326d_0000000000000041"`. */
export function formatOffset(position: Since): string {
  const parsed = parsePosition(position);
  if (parsed === null) throw new Error(`${position} is no position`);
  return `${parsed.epoch}_${String(parsed.seq).padStart(DIGITS, '0')}`;
}

/** Where an offset, or one of the two words of the protocol, asks to begin; null where it is none. */
export function sinceOf(offset: string): Since | null {
  if (offset === '-1') return 'start';
  if (offset === 'now') return 'now';
  const [, epoch, digits] = OFFSET.exec(offset) ?? [];
  const seq = Number(digits);
  return epoch !== undefined && Number.isSafeInteger(seq) ? formatPosition({ epoch, seq }) : null;
}
