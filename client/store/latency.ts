import type { EventTimes } from '../protocol/index.js';
import type { Platform } from './platform.js';
import { quantile } from './rhythm.js';

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

/** How many of the latest events are measured. */
const SAMPLES = 200;

interface Sample {
  readonly written: number;
  readonly read: number;
  /** By two clocks. */
  readonly wire: number;
  readonly paint: number;
}

/** Measures events that say when they were written, read and sent. */
export class LatencyMeter {
  readonly #platform: Platform;
  readonly #roundTrip: () => number | null;
  readonly #show: (latency: Latency) => void;
  readonly #samples: Sample[] = [];
  #waiting: { readonly times: EventTimes; readonly arrived: number }[] = [];

  constructor(platform: Platform, roundTrip: () => number | null, show: (latency: Latency) => void) {
    this.#platform = platform;
    this.#roundTrip = roundTrip;
    this.#show = show;
  }

  /** An event has arrived; it is shown with the next frame. */
  take(times: EventTimes): void {
    const { clock, frame } = this.#platform;
    this.#waiting.push({ times, arrived: clock.now() });
    if (this.#waiting.length === 1) frame(() => this.#painted(clock.now()));
  }

  #painted(now: number): void {
    for (const { times, arrived } of this.#waiting) {
      const { written, read, sent } = times;
      if (written !== null) {
        this.#samples.push({ written: read - written, read: sent - read, wire: arrived - sent, paint: now - arrived });
      }
    }
    this.#waiting = [];
    this.#samples.splice(0, this.#samples.length - SAMPLES);
    if (this.#samples.length > 0) this.#show(this.#latency());
  }

  #latency(): Latency {
    // The fastest message took half a round trip; what its times say beyond that is how far the clocks are apart.
    const uncertainty = (this.#roundTrip() ?? 0) / 2;
    const apart = Math.min(...this.#samples.map(({ wire }) => wire)) - uncertainty;
    const of = (value: (sample: Sample) => number): Quantiles => {
      const values = this.#samples.map((sample) => Math.max(0, value(sample)));
      return { p50: quantile(values, 0.5), p95: quantile(values, 0.95), p99: quantile(values, 0.99) };
    };
    return {
      written: of(({ written }) => written),
      read: of(({ read }) => read),
      wire: of(({ wire }) => wire - apart),
      paint: of(({ paint }) => paint),
      total: of(({ written, read, wire, paint }) => written + read + wire - apart + paint),
      samples: this.#samples.length,
      uncertainty,
    };
  }
}
