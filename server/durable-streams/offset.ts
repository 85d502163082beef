import { formatPosition, parsePosition, type Since } from '@rowcast/client/protocol';

/** Digits of the seq in an offset. Padding makes the lexical order of offsets that of the numbers, as the protocol requires. */
const DIGITS = 16;

const OFFSET = /^([a-z0-9]{1,16})_(\d{16})$/;

/** Writes a position as an offset of the protocol: `"58326d.41"` → `"58326d_0000000000000041"`. Throws if it is not a position. */
export function formatOffset(position: Since): string {
  const parsed = parsePosition(position);
  if (parsed === null) throw new Error(`${position} is not a position`);
  return `${parsed.epoch}_${String(parsed.seq).padStart(DIGITS, '0')}`;
}

/** Returns where an offset, `-1` or `now` starts to read; null if it is malformed. */
export function sinceOf(offset: string): Since | null {
  if (offset === '-1') return 'start';
  if (offset === 'now') return 'now';
  const [, epoch, digits] = OFFSET.exec(offset) ?? [];
  const seq = Number(digits);
  return epoch !== undefined && Number.isSafeInteger(seq) ? formatPosition({ epoch, seq }) : null;
}
