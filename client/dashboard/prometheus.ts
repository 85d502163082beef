/** Reads the metrics of a gateway in the text format of Prometheus. */

const LINE = /^(\w+)(?:\{([^}]*)\})? (\S+)$/gm;

export interface Samples {
  /** The sum of a metric over its labels; 0 if there is none. */
  sum(name: string): number;
  /** The values of a metric by one of its labels. */
  by(name: string, label: string): ReadonlyMap<string, number>;
}

export function parseMetrics(text: string): Samples {
  const samples = [...text.matchAll(LINE)].map(([, name = '', labels = '', value]) => ({
    name,
    labels,
    value: Number(value),
  }));
  const of = (wanted: string) => samples.filter(({ name }) => name === wanted);
  return {
    sum: (name) => of(name).reduce((sum, { value }) => sum + value, 0),
    by(name, label) {
      const values = new Map<string, number>();
      for (const { labels, value } of of(name)) {
        const key = new RegExp(`(?:^|,)${label}="([^"]*)"`).exec(labels)?.[1] ?? '';
        values.set(key, (values.get(key) ?? 0) + value);
      }
      return values;
    },
  };
}

/** A quantile of a histogram whose buckets are counted up to each bound, by interpolation; null if it is empty. */
export function quantileOf(buckets: ReadonlyMap<string, number>, quantile: number): number | null {
  const bounds = [...buckets].map(([bound, count]) => ({
    bound: bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound),
    count,
  }));
  bounds.sort((one, other) => one.bound - other.bound);
  const total = bounds.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const rank = quantile * total;
  let before = { bound: 0, count: 0 };
  for (const bucket of bounds) {
    if (bucket.count >= rank) {
      if (bucket.bound === Number.POSITIVE_INFINITY) return before.bound;
      const inside = (rank - before.count) / Math.max(1, bucket.count - before.count);
      return before.bound + (bucket.bound - before.bound) * inside;
    }
    before = bucket;
  }
  return null;
}
