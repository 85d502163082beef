import { makeRandom } from './random.js';

// Before each test file: whatever is drawn in it, by a test or by the code under test, comes from one seed.
process.env.ROWCAST_SEED ||= `${Date.now() % 2 ** 31}`;
Math.random = makeRandom(Number(process.env.ROWCAST_SEED)).next;
