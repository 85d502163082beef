/** In milliseconds. */
export interface Quantiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** Where the latest live events spent their time. */
export interface Latency {
  /** From the INSERT until the gateway read it. */
  readonly written: Quantiles;
  /** From there until the gateway sent it. */
  readonly read: Quantiles;
  /** From there until it arrived. */
  readonly wire: Quantiles;
  /** From there until the frame in which it was shown. */
  readonly paint: Quantiles;
  /** All of it. */
  readonly total: Quantiles;
  /** How many events these are of. */
  readonly samples: number;
  /** How far the clocks of the gateway and the page may be apart, in milliseconds: half a round trip. */
  readonly uncertainty: number;
}
