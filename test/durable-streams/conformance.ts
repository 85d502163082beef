import { runConformanceTests } from '@durable-streams/server-conformance-tests';

// Vitest runs this, as a child of test/integration/durable-streams-conformance.test.ts.
runConformanceTests({ baseUrl: process.env.STAND_IN_URL ?? '', longPollTimeoutMs: 5_000 });
