/** Decides which rung is visited next, and how long its handshake may take. It holds no timer and no connection. */
import type { TransportName } from '../transport/rung.js';

/** A connection shorter than this is no evidence that its transport works. In milliseconds. */
export const STABLE = 5_000;

/** A rung that has worked is left after this many failures in a row. */
const MAX_FAILURES = 3;

/** How long a handshake may take in the first round, and in any round; in milliseconds. */
const FIRST_HANDSHAKE_TIMEOUT = 4_000;
const LAST_HANDSHAKE_TIMEOUT = 10_000;

/** How a visit to a rung ended. */
export interface VisitResult {
  /** How long it was connected, in milliseconds; null if the transport was never proven to carry data. */
  readonly lived: number | null;
  /** Whether the transport may be the cause: not if the gateway answered, nor if there was no token. */
  readonly transportAtFault: boolean;
}

/**
 * In each round every rung is tried once, the best first. A rung that has worked is left after three failures in a row,
 * any other after its first failure.
 */
export class Ladder {
  readonly #names: readonly TransportName[];
  readonly #tried = new Set<TransportName>();
  #rung: TransportName;
  #round = 0;
  #stood = false;
  #failures = 0;

  /** `names`: the best first, at least one. `first`: where the first round begins, if the ladder has that rung. */
  constructor(names: readonly TransportName[], first?: string | null) {
    this.#names = names;
    this.#rung = names.find((name) => name === first) ?? (names[0] as TransportName);
  }

  /** The rung to visit, or the one that is being visited. */
  get rung(): TransportName {
    return this.#rung;
  }

  /** How long a handshake may take now, in milliseconds. It is shorter while another rung is still to be tried. */
  get handshakeTimeout(): number {
    const last = this.#names.every((name) => name === this.#rung || this.#tried.has(name));
    if (last || this.#stood) return LAST_HANDSHAKE_TIMEOUT;
    return Math.min(FIRST_HANDSHAKE_TIMEOUT * 2 ** this.#round, LAST_HANDSHAKE_TIMEOUT);
  }

  /** The rungs above the present one, the best first. */
  get better(): readonly TransportName[] {
    return this.#names.slice(0, this.#names.indexOf(this.#rung));
  }

  /** A connection on `rung` works: it is the present rung from now on. */
  stands(rung = this.#rung): void {
    if (rung !== this.#rung) this.#begin();
    this.#rung = rung;
    this.#stood = true;
  }

  /** A visit has ended. Returns whether the next rung is to be visited at once; if not, after a delay. */
  lost({ lived, transportAtFault }: VisitResult): boolean {
    if (lived !== null && lived >= STABLE) {
      this.#begin();
      return false;
    }
    if (!transportAtFault) return false;
    this.#failures += 1;
    if (this.#stood && this.#failures < MAX_FAILURES) return false;
    return this.#leave();
  }

  #begin(): void {
    this.#failures = 0;
    this.#round = 0;
    this.#tried.clear();
  }

  #leave(): boolean {
    this.#stood = false;
    this.#failures = 0;
    this.#tried.add(this.#rung);
    const next = this.#names.find((name) => !this.#tried.has(name));
    this.#rung = next ?? (this.#names[0] as TransportName);
    if (next !== undefined) return true;
    this.#round += 1;
    this.#tried.clear();
    return false;
  }
}
