import type { Scenario } from '../harness/scenario.js';
import { latency } from './b1-latency.js';
import { oneByOne } from './b2a-one-by-one.js';
import { writers } from './b4-writers.js';
import { bulk } from './b5-bulk.js';
import { idle } from './b6-idle.js';
import { catchUp } from './b7-catch-up.js';

export const scenarios: readonly Scenario[] = [latency, oneByOne, writers, bulk, idle, catchUp];
