import { createHash } from 'node:crypto';

/** JSON with the keys of every object sorted and no white space, as RFC 8785 has it: equal values are equal texts. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`;
}

/** The content of a row in 16 hexadecimal digits, whatever the order of its columns. */
export function digestOf(row: unknown): string {
  return createHash('sha256').update(canonical(row)).digest('hex').slice(0, 16);
}
