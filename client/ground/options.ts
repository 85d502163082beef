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

/** The number of letters to insert, delete or replace (Levenshtein distance), without regard to case. */
function distance(one: string, other: string): number {
  const letters = [...other.toLowerCase()];
  let row = [0, ...letters.map((_, index) => index + 1)];
  for (const [index, letter] of [...one.toLowerCase()].entries()) {
    const next = [index + 1];
    for (const [at, candidate] of letters.entries()) {
      const replaced = (row[at] ?? 0) + Number(letter !== candidate);
      next.push(Math.min(replaced, (row[at + 1] ?? 0) + 1, (next[at] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
