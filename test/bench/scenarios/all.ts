import type { Scenario } from '../harness/scenario.js';
import { latency } from './b1-latency.js';
import { oneByOne } from './b2a-one-by-one.js';
import { bursts } from './b2b-bursts.js';
import { channels } from './b3-channels.js';
import { writers } from './b4-writers.js';
import { bulk } from './b5-bulk.js';
import { idle } from './b6-idle.js';
import { catchUp } from './b7-catch-up.js';
import { storm } from './b8-storm.js';
import { costCurve } from './b9-cost-curve.js';
import { workers } from './b10-workers.js';
import { cachedHistory } from './cached-history.js';
import { gateways } from './gateways.js';
import { rowSizes } from './row-sizes.js';

export const scenarios: readonly Scenario[] = [
  latency,
  oneByOne,
  bursts,
  channels,
  writers,
  bulk,
  idle,
  catchUp,
  storm,
  costCurve,
  workers,
  gateways,
  rowSizes,
  cachedHistory,
];
