/** Reads fields of rows whose content is not trusted. A field that is missing or wrong is null, one that is too long is cut; none is an error. */

export type Fields = Readonly<Record<string, unknown>>;

const NONE: Fields = {};
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?$/;

export function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : NONE;
}

/** A text that is not empty, cut to `max` UTF-16 units. */
export function text(value: unknown, max: number): string | null {
  if (typeof value !== 'string' || value === '') return null;
  if (value.length <= max) return value;
  const cut = value.slice(0, max).replace(/[\uD800-\uDBFF]$/, '');
  return JSON.parse(JSON.stringify(cut)) as string; // a copy, because a slice would keep the whole text in memory
}

export function whole(value: unknown, min: number, max: number): number | null {
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max ? (value as number) + 0 : null;
}

/** A duration or a percentage: finite, not negative. */
export function amount(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value + 0 : null; // + 0: -0 is no JSON
}

/** Milliseconds since 1970, from a number, a Date or an ISO text. A text without a zone is in UTC. */
export function time(value: unknown): number | null {
  if (value instanceof Date) return amount(value.getTime());
  if (typeof value !== 'string') return whole(value, 0, 8.64e15);
  const zone = ISO.exec(value);
  return zone === null ? null : amount(Date.parse(zone[3] === undefined ? `${value}Z` : value));
}

/** A copy of a value as JSON can represent it; undefined if it cannot, or if that takes more than `max` characters. */
export function copied(value: unknown, max: number): unknown {
  try {
    const json: string | undefined = JSON.stringify(value);
    return json === undefined || json.length > max ? undefined : JSON.parse(json);
  } catch {
    return undefined; // a cycle, a BigInt, or too many levels
  }
}
