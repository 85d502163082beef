/** About how many bytes a value of JSON takes as text. */
export function sizeOf(value: unknown): number {
  let bytes = 0;
  const rest: unknown[] = [value];
  while (rest.length > 0) {
    const next = rest.pop();
    bytes += typeof next === 'string' ? next.length + 2 : 6;
    if (typeof next === 'object' && next !== null) rest.push(...Object.keys(next), ...Object.values(next));
  }
  return bytes;
}
