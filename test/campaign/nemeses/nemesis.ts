import type { Random } from '../../support/random.js';
import type { ClientHost } from '../clients/host.js';
import type { Gateway } from '../gateway.js';
import type { World } from '../world.js';

/** What a fault needs for itself while it lasts: two that break the same part at once would hide each other. */
export type Part = 'database' | 'gateway' | 'gateways' | 'stir' | 'held' | 'locked';

export interface Strike {
  readonly world: World;
  readonly clients: ClientHost;
  /** The one it was drawn for. A fault that strikes none leaves it alone. */
  readonly gateway: Gateway;
  readonly random: Random;
  /** How long the fault is to last, in milliseconds. */
  readonly holdMs: number;
}

/** One way to break the world. */
export interface Nemesis {
  readonly name: string;
  readonly about: string;
  readonly breaks: readonly Part[];
  /** The shortest and the longest time that it lasts, in milliseconds. */
  readonly lasts: readonly [number, number];
  /** How often it is drawn, compared with the others; 1 if left out. */
  readonly weight?: number;
  /** It ends the process of a gateway. */
  readonly kills?: boolean;
  /** Why it cannot strike here; null where it can. */
  readonly missing?: (world: World) => string | null;
  /**
   * Breaks something, waits until that has taken effect, lets it last, mends it, and waits until it is whole. Returns
   * what is worth telling. Throws if the world is not whole again in time.
   */
  strike(strike: Strike): Promise<string>;
}
