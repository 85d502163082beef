/** The files that take longest, the longest first: one that began last would keep a single worker busy at the end. */
const LONGEST = [
  'fault/campaign',
  'fault/ringer',
  'fault/attacks',
  'fault/storm',
  'property/doorbell-orders',
  'integration/packages',
  'integration/zoo-streams',
  'integration/durable-streams-conformance',
  'integration/doctor-streams',
  'integration/uninstall',
  'integration/zoo-rows',
  'integration/workers',
  'integration/ladder',
  'integration/environment',
  'browser/rungs',
  'browser/dashboard',
  'integration/half-open',
  'integration/crashes',
  'integration/doctor',
  'integration/tutorials',
  'integration/cli',
  'integration/track',
  'integration/doctor-servers',
  'integration/limits',
  'integration/bounds',
  'integration/doorbell-steps',
  'integration/refresh',
  'integration/numbering',
  'integration/compose',
  'integration/embedded',
].map((name) => `/test/${name}.test.ts`);

/** Jest's sequencer for a run without a cache: the longest files first, then the largest. */
export default class {
  sort(tests) {
    const place = ({ path }) => {
      const at = LONGEST.findIndex((end) => path.endsWith(end));
      return at < 0 ? LONGEST.length : at;
    };
    const size = ({ path, context }) => context.hasteFS.getSize(path) ?? 0;
    return [...tests].sort((a, b) => place(a) - place(b) || size(b) - size(a));
  }

  shard(tests) {
    return tests;
  }

  allFailedTests(tests) {
    return tests;
  }

  cacheResults() {}
}
