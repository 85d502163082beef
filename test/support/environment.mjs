import { basename } from 'node:path';
import vm from 'node:vm';
import { TestEnvironment } from 'jest-environment-node';
import { lacks } from './installed.mjs';
import { load } from './load.mjs';

/** The timeout of a test is there for a hang. What waits for a condition gives up before, and says for what it waited. */
const MARGIN = 2;

/** A hang is not to last for ever where the machine is very busy. */
const MOST = 4;

/** A group hands its mode on to what is in it when it is defined: too early for this. */
function skip(block) {
  block.mode = 'skip';
  for (const child of block.children) {
    if (child.type === 'describeBlock') skip(child);
    else child.mode = 'skip';
  }
}

/**
 * Jest's environment for Node, with four differences.
 *
 * Its global object is a plain one. Jest makes it a proxy, to clean up after a test file, so that each `Map`, `Promise`
 * or `performance` in the code is looked up through two hooks: code under test ran five times slower than in
 * production. A context with a global object of its own isolates the files as well, and is collected as a whole. Jest
 * has no option for that, but asks `vm` for the context.
 *
 * The timeouts of tests and hooks are meant for an idle machine: they grow with the load at their start.
 *
 * A test that fails says with which seed, which `setup.ts` has chosen for its file.
 *
 * A file that begins with `@needs` in a comment is skipped where one of these programs is not installed.
 */
export default class extends TestEnvironment {
  /** Of each test and hook, as it was written. */
  #timeouts = new WeakMap();
  #lacks = false;

  constructor(config, context) {
    const { createContext } = vm;
    vm.createContext = () => createContext(vm.constants.DONT_CONTEXTIFY);
    try {
      super(config, context);
    } finally {
      vm.createContext = createContext;
    }
    const { needs = '' } = context.docblockPragmas;
    this.#lacks = lacks(basename(context.testPath), ...String(needs).split(' ').filter(Boolean));
  }

  handleTestEvent({ name, test, hook }, { testTimeout, rootDescribeBlock }) {
    if (name === 'run_start' && this.#lacks) skip(rootDescribeBlock);
    if (name === 'test_done' && test.errors.length > 0) {
      process.stderr.write(`ROWCAST_SEED=${this.global.process.env.ROWCAST_SEED} was the seed of: ${test.name}\n`);
    }
    if (name !== 'test_fn_start' && name !== 'hook_start') return;
    const timed = name === 'hook_start' ? hook : test;
    const timeout = this.#timeouts.get(timed) ?? timed.timeout ?? testTimeout;
    this.#timeouts.set(timed, timeout);
    timed.timeout = timeout * MARGIN * Math.min(MOST, load());
  }
}
