/**
 * `next`, with everything in it that is equal to what is at the same place in `before` replaced by that: so plain data that
 * did not change stays the same object, and a component that was given it renders nothing.
 */
export function shared<T>(before: T | undefined, next: T): T {
  if (Object.is(before, next) || !isPlain(next) || !isPlain(before)) return next;
  if (Array.isArray(before) !== Array.isArray(next)) return next;
  const known: Record<string, unknown> = before;
  const names = Object.keys(next);
  const result: Record<string, unknown> | unknown[] = Array.isArray(next) ? [] : {};
  let same = names.length === Object.keys(known).length;
  for (const name of names) {
    const value = shared(known[name], (next as Record<string, unknown>)[name]);
    same &&= Object.hasOwn(known, name) && Object.is(value, known[name]);
    (result as Record<string, unknown>)[name] = value;
  }
  return same ? before : (result as T);
}

/** Whether two values are the same, or lists or plain objects with the same entries. */
export function isShallowEqual(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  // Other objects cannot be compared by their own properties: a Map, for example, has none.
  if (!isPlain(one) || !isPlain(other) || Array.isArray(one) !== Array.isArray(other)) return false;
  const entries = Object.entries(one);
  return (
    entries.length === Object.keys(other).length && entries.every(([name, value]) => Object.is(value, other[name]))
  );
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || Array.isArray(value);
}

/** The value of a name that comes from outside: `constructor`, say, is no entry unless it was put there. */
export function own<T>(entries: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(entries, name) ? entries[name] : undefined;
}
