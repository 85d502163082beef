import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';
import { type Browser, type BrowserContext, launch, type Page } from 'puppeteer-core';
import { programPath } from '../support/installed.mjs';

/** By engine, what Puppeteer calls it. */
const DRIVERS = { chromium: 'chrome', firefox: 'firefox' } as const;

export type Engine = keyof typeof DRIVERS;

export interface TestBrowser {
  /** Pages of one test share their storage; each test is another user. */
  newPage(): Promise<Page>;
}

/** One browser for the test file, or the group of tests, that calls this. */
export function useBrowser(engine: Engine): TestBrowser {
  let browser: Browser;
  let context: BrowserContext;
  beforeAll(async () => {
    const executablePath = programPath(engine) ?? '';
    // The sandbox of Chromium does not work as root. Both engines are told by Puppeteer what else a test needs.
    const args = engine === 'chromium' ? ['--no-sandbox'] : [];
    browser = await launch({ browser: DRIVERS[engine], executablePath, args });
  });
  beforeEach(async () => {
    context = await browser.createBrowserContext();
  });
  afterEach(() => context?.close());
  afterAll(() => browser?.close());
  return { newPage: () => context.newPage() };
}
