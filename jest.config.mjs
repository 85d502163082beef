const typescript = {
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^@rowcast/client$': '<rootDir>/client/node.ts',
    '^@rowcast/client/(.*)$': '<rootDir>/client/$1/index.ts',
  },
  testEnvironment: '<rootDir>/test/support/environment.mjs',
  setupFiles: ['<rootDir>/test/support/setup.ts'],
  transform: { '\\.ts$': '<rootDir>/test/support/transform.mjs' },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/client/dist/'],
};

// Jest runs these only when a test of such a project was selected, so pure runs start no database.
const database = {
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
};

export default {
  // Jest ignores a timeout that is set per project.
  testTimeout: 30_000,
  // What earlier test files left in the heap makes later ones slower: the search of `doorbell-orders` takes 12 s in a new
  // process and 50 to 100 s in one that has run fifty files.
  workerIdleMemoryLimit: '300MB',
  testSequencer: '<rootDir>/test/support/sequencer.mjs',
  projects: [
    {
      ...typescript,
      displayName: 'pure',
      testMatch: ['<rootDir>/test/{unit,property}/**/*.test.ts', '<rootDir>/test/architecture.test.ts'],
    },
    {
      ...typescript,
      ...database,
      displayName: 'database',
      testMatch: ['<rootDir>/test/integration/**/*.test.ts'],
    },
    {
      // Apart from the others: these load the machine, or measure times.
      ...typescript,
      ...database,
      displayName: 'fault',
      testMatch: ['<rootDir>/test/fault/**/*.test.ts'],
    },
    {
      ...typescript,
      ...database,
      displayName: 'browser',
      testMatch: ['<rootDir>/test/browser/**/*.test.ts'],
    },
  ],
};
