import type { TransportName } from '../transport/rung.js';

/** A link that died sooner than this after it was connected does not speak for its rung. In milliseconds. */
export const STABLE = 5_000;

/** So many links in a row that failed or died soon, and a rung that once stood is left. */
const STRIKES = 3;

/** How long a handshake may take in the first round, and in any; in milliseconds. */
const FIRST_PATIENCE = 4_000;
const LAST_PATIENCE = 10_000;

/** How a visit to a rung ended. */
export interface Fate {
  /** How long it was connected, in milliseconds; null where the way was never proven to carry anything. */
  readonly lived: number | null;
  /** It was not the way that failed: the gateway spoke, or there was no token. */
  readonly blameless: boolean;
}

/**
 * Decides which rung is visited next. In one round each rung is tried once, the best first; only then a new round
 * begins. A rung that has stood is left only after three failures in a row, others after the first.
 */
export class Ladder {
  readonly #names: readonly TransportName[];
  readonly #tried = new Set<TransportName>();
  #rung: TransportName;
  #round = 0;
  #stood = false;
  #strikes = 0;

  /** `names`: the best first, at least one. `first`: where the first round begins. */
  constructor(names: readonly TransportName[], first?: TransportName) {
    const [best] = names;
    if (best === undefined) throw new TypeError('a ladder has at least one rung');
    this.#names = names;
    this.#rung = first !== undefined && names.includes(first) ? first : best;
  }

  /** The rung to visit, or the one that is being visited. */
  get rung(): TransportName {
    return this.#rung;
  }

  /** How long a handshake may take now, in milliseconds: less where the rung may lead nowhere and another one is to be tried. */
  get patience(): number {
    const last = this.#names.every((name) => name === this.#rung || this.#tried.has(name));
    if (last || this.#stood) return LAST_PATIENCE;
    return Math.min(FIRST_PATIENCE * 2 ** this.#round, LAST_PATIENCE);
  }

  /** The rungs above, the best first. */
  get better(): readonly TransportName[] {
    return this.#names.slice(0, this.#names.indexOf(this.#rung));
  }

  /** The present rung carries a connection, or `rung` does, which is the present one from now on. */
  stands(rung = this.#rung): void {
    if (rung !== this.#rung) this.#begin();
    this.#rung = rung;
    this.#stood = true;
  }

  /** The visit is over. Whether the next rung is to be visited at once; else only after a delay. */
  lost({ lived, blameless }: Fate): boolean {
    if (lived !== null && lived >= STABLE) {
      this.#begin();
      return false;
    }
    if (blameless) return false;
    this.#strikes += 1;
    if (this.#stood && this.#strikes < STRIKES) return false;
    return this.#leave();
  }

  #begin(): void {
    this.#strikes = 0;
    this.#round = 0;
    this.#tried.clear();
  }

  #leave(): boolean {
    this.#stood = false;
    this.#strikes = 0;
    this.#tried.add(this.#rung);
    const next = this.#names.find((name) => !this.#tried.has(name));
    this.#rung = next ?? (this.#names[0] as TransportName);
    if (next !== undefined) return true;
    this.#round += 1;
    this.#tried.clear();
    return false;
  }
}
