/** The figures of turns, and what is made of several: medians, spreads, ratios round by round. */

export const ascending = (values: readonly number[]) => values.toSorted((a, b) => a - b);

export function quantile(values: readonly number[], p: number): number {
  const sorted = ascending(values);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = ascending(values.filter((value) => !Number.isNaN(value)));
  const half = sorted.length >> 1;
  const [below = Number.NaN, above = Number.NaN] = [sorted[half - 1], sorted[half]];
  return sorted.length % 2 === 1 ? above : (below + above) / 2;
}

export type Figures = Readonly<Record<string, number>>;

/** One turn of one system. */
export interface Turn {
  readonly system: string;
  /** What differs from turn to turn beside the system: rows a statement, connections. */
  readonly shape: string;
  readonly round: number;
  readonly figures: Figures;
  /** The cores that each part of it took, and other processes of the machine. */
  readonly cores: Figures;
}

export class Results {
  readonly turns: readonly Turn[];

  constructor(turns: readonly Turn[]) {
    this.turns = turns;
  }

  of(system: string, shape: string, figure: string): number[] {
    const own = this.turns.filter((turn) => turn.system === system && turn.shape === shape);
    return own.map(({ figures }) => figures[figure] ?? Number.NaN);
  }

  median(system: string, shape: string, figure: string): number {
    return median(this.of(system, shape, figure));
  }

  /** The median of the ratios of the rounds: what disturbs a whole round does not count. NaN without the other system. */
  ratio(of: readonly [system: string, shape: string], to: readonly [system: string, shape: string], figure: string) {
    const [above, below] = [this.of(...of, figure), this.of(...to, figure)];
    return median(above.map((value, round) => value / (below[round] ?? Number.NaN)));
  }
}
