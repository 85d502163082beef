/**
 * Refuses options that do not exist. A misspelt one would be ignored silently. Throws `TypeError` with the nearest name.
 */
export function checkNames(of: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const [nearest = ''] = [...known].sort((one, other) => distance(name, one) - distance(name, other));
    throw new TypeError(`${of}: there is no option ${name}; the nearest is ${nearest}`);
  }
}

/** The number of letters that only one of the two names has, without regard to case. */
function distance(one: string, other: string): number {
  const missing = (from: string, to: string) => [...from].filter((letter) => !to.includes(letter)).length;
  const [a, b] = [one.toLowerCase(), other.toLowerCase()];
  return missing(a, b) + missing(b, a) + Math.abs(a.length - b.length);
}
