/** The files that take longest, the longest first: one that began last would keep a single worker busy at the end. */
const LONGEST = [
  'durable-streams-conformance',
  'tutorials',
  'packages',
  'zoo-rows',
  'workers',
  'zoo-streams',
  'huge-transaction',
  'ladder',
  'cli',
  'zoo',
  'limits',
  'doctor-rights',
  'half-open',
  'install',
  'embedded',
  'environment',
].map((name) => `/integration/${name}.test.ts`);

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
