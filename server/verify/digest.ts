import { createHash } from 'node:crypto';

/** Writes JSON with sorted keys and without white space (RFC 8785), so that equal values have equal texts. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`;
}

/** Returns the digest of a row as 16 hexadecimal digits. It does not depend on the order of the columns. */
export function digestOf(row: unknown): string {
  return createHash('sha256').update(canonical(row)).digest('hex').slice(0, 16);
}
