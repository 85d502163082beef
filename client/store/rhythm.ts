/** How long nothing was written: a measurement, and no verdict. */
export interface Quiet {
  /** When the last event was written, in milliseconds since 1970. */
  readonly lastAt: number | null;
  /** The usual time between two events, in milliseconds, of the latest 64; null with fewer than 5. */
  readonly usual: { readonly p50: number; readonly p90: number } | null;
}

export interface Rhythm {
  readonly lastAt: number | null;
  /** The latest times between two events. */
  readonly gaps: readonly number[];
}

const MAX_GAPS = 64;
const ENOUGH = 5;

export const NO_RHYTHM: Rhythm = { lastAt: null, gaps: [] };

export function rhythmAfter({ lastAt, gaps }: Rhythm, at: number | null): Rhythm {
  if (at === null) return { lastAt, gaps };
  if (lastAt === null) return { lastAt: at, gaps };
  return { lastAt: at, gaps: [...gaps.slice(1 - MAX_GAPS), at - lastAt] };
}

/** `known`: when the last event was written, where that is known from elsewhere. */
export function quietOf({ lastAt, gaps }: Rhythm, known: number | null): Quiet {
  const usual = gaps.length < ENOUGH ? null : { p50: quantile(gaps, 0.5), p90: quantile(gaps, 0.9) };
  return { lastAt: lastAt ?? known, usual };
}

/** The value that this share of the values is at or below. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
