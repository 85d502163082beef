import type { Clock } from '../ground/clock.js';

/** The number of latest requests that rates and means are computed over. */
const WINDOW = 100;

/** With fewer requests a rate or a mean is not significant, and no warning is given. */
const MIN_REQUESTS = 10;

/** The values above which a warning is given. */
export interface Thresholds {
  /** The share of requests that failed: 0 to 1. */
  readonly failureRate: number;
  /** The mean response time in milliseconds. */
  readonly response: number;
  /** How long an outage may last, in milliseconds. */
  readonly recovery: number;
}

/** A value has risen above its threshold. Units as in `Thresholds`. */
export interface Warning {
  readonly kind: keyof Thresholds;
  readonly value: number;
  readonly threshold: number;
}

/** The statistics of requests. Times in milliseconds. */
export interface RequestStats {
  /** The number of requests that were answered or have failed. */
  readonly requests: number;
  /** The number of those that have failed. */
  readonly failures: number;
  /** The share of the last 100 requests that was answered; 1 without requests. */
  readonly successRate: number;
  /** From sending to the whole response, over those of the last 100 that were answered; 0 if none was. */
  readonly meanResponse: number;
  readonly p95Response: number;
  /** How long the last outage took, or the present one has taken: from the first failure in a row until channels were
   * served again. Null if nothing has failed. */
  readonly recovery: number | null;
}

interface Outage {
  readonly from: number;
  to: number | null;
}

/** Counts requests, and keeps the response times of the latest. */
export class Statistics {
  readonly thresholds: Thresholds;
  readonly #clock: Clock;
  /** The response times of the latest requests; null for one that failed. */
  readonly #window: (number | null)[] = [];
  readonly #exceeded = new Set<keyof Thresholds>();
  #requests = 0;
  #failures = 0;
  #outage: Outage | null = null;

  constructor(clock: Clock, thresholds: Thresholds) {
    this.#clock = clock;
    this.thresholds = thresholds;
  }

  /** `time`: from sending to the whole response. */
  answered(time: number): void {
    this.#add(time);
  }

  /** The gateway serves channels: an outage, if there was one, is over. */
  recovered(): void {
    if (this.#outage !== null) this.#outage.to ??= this.#clock.now();
  }

  failed(): void {
    this.#add(null);
    this.#failures += 1;
    if (this.#outage === null || this.#outage.to !== null) this.#outage = { from: this.#clock.now(), to: null };
  }

  get stats(): RequestStats {
    const times = this.#window.filter((time) => time !== null).sort((a, b) => a - b);
    const { from = 0, to = null } = this.#outage ?? {};
    return {
      requests: this.#requests,
      failures: this.#failures,
      successRate: this.#window.length === 0 ? 1 : times.length / this.#window.length,
      meanResponse: times.reduce((sum, time) => sum + time, 0) / Math.max(1, times.length),
      p95Response: times[Math.ceil(times.length * 0.95) - 1] ?? 0,
      recovery: this.#outage && (to ?? this.#clock.now()) - from,
    };
  }

  /** The values that have risen above their thresholds since the last call. Each is returned once until it was below. */
  warnings(): Warning[] {
    const { meanResponse, recovery } = this.stats;
    const enough = this.#window.length >= MIN_REQUESTS;
    const failures = this.#window.filter((time) => time === null).length;
    const values: Record<keyof Thresholds, number> = {
      failureRate: enough ? failures / this.#window.length : 0,
      response: enough ? meanResponse : 0,
      recovery: recovery ?? 0,
    };
    const risen: Warning[] = [];
    for (const kind of ['failureRate', 'response', 'recovery'] as const) {
      const [value, threshold] = [values[kind], this.thresholds[kind]];
      if (value <= threshold) this.#exceeded.delete(kind);
      else if (!this.#exceeded.has(kind)) {
        this.#exceeded.add(kind);
        risen.push({ kind, value, threshold });
      }
    }
    return risen;
  }

  #add(time: number | null): void {
    this.#requests += 1;
    this.#window.push(time);
    if (this.#window.length > WINDOW) this.#window.shift();
  }
}
