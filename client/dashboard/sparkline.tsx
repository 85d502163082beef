import type { ReactElement } from 'react';

const WIDTH = 240;
const HEIGHT = 40;

/** The latest values as a line. What it says is beside it as text. */
export function Sparkline({ values }: { readonly values: readonly number[] }): ReactElement {
  const high = Math.max(1e-9, ...values);
  const places = values.map(
    (value, index) =>
      `${((index / Math.max(1, values.length - 1)) * WIDTH).toFixed(1)} ${(HEIGHT - 2 - (value / high) * (HEIGHT - 4)).toFixed(1)}`,
  );
  return (
    <svg
      className="sparkline"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      {places.length > 1 && (
        <path
          d={`M${places.join('L')}`}
          fill="none"
          stroke="currentColor"
          strokeWidth="1.5"
          vectorEffect="non-scaling-stroke"
        />
      )}
    </svg>
  );
}
