import type { Nemesis } from './nemeses/nemesis.js';

export interface CampaignOptions {
  readonly minutes: number;
  readonly gateways: number;
  readonly clients: number;
  readonly rowsPerSecond: number;
  readonly seed: number;
  readonly out: string;
  readonly nemeses: readonly Nemesis[];
  /** Each of them once, spread over the time there is. Otherwise as many as fit, again and again. */
  readonly once: boolean;
  readonly log: (line: string) => void;
  /** The campaign is to end early: what happened so far is checked all the same. */
  readonly signal: AbortSignal;
}
