/** The place of a reader in a channel: it has all events up to and including `seq` of the numbering `epoch`. */
export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

const POSITION = /^([a-z0-9]{1,16})\.(0|[1-9]\d{0,15})$/;

/** `{epoch: "58326d", seq: 41}` → `"58326d.41"`. */
export function formatPosition({ epoch, seq }: Position): string {
  return `${epoch}.${seq}`;
}

/** A text as a position; null if it is none. */
export function parsePosition(text: string): Position | null {
  const [, epoch, digits] = POSITION.exec(text) ?? [];
  const seq = Number(digits);
  return epoch !== undefined && Number.isSafeInteger(seq) ? { epoch, seq } : null;
}
