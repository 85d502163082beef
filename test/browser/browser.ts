import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';
import { type Browser, type BrowserContext, launch, type Page } from 'puppeteer-core';

const ENGINES = {
  chromium: { driver: 'chrome', package: 'chromium', programs: ['chromium', 'chromium-browser', 'google-chrome'] },
  firefox: { driver: 'firefox', package: 'firefox-esr', programs: ['firefox-esr', 'firefox'] },
} as const;

export type Engine = keyof typeof ENGINES;

export interface TestBrowser {
  /** Pages of one test share their storage; each test is another user. */
  newPage(): Promise<Page>;
}

/** One browser for the test file, or the group of tests, that calls this. */
export function useBrowser(engine: Engine): TestBrowser {
  let browser: Browser;
  let context: BrowserContext;
  beforeAll(async () => {
    const executablePath = findProgram(ENGINES[engine]);
    // The sandbox of Chromium does not work as root. Both engines are told by Puppeteer what else a test needs.
    const args = engine === 'chromium' ? ['--no-sandbox'] : [];
    browser = await launch({ browser: ENGINES[engine].driver, executablePath, args });
  });
  beforeEach(async () => {
    context = await browser.createBrowserContext();
  });
  afterEach(() => context?.close());
  afterAll(() => browser?.close());
  return { newPage: () => context.newPage() };
}

/** The path of the first of these programs that is there. Throws where there is none: nothing is skipped for it. */
function findProgram(wanted: { readonly package: string; readonly programs: readonly string[] }): string {
  const folders = (process.env.PATH ?? '').split(delimiter);
  for (const path of wanted.programs.flatMap((program) => folders.map((folder) => join(folder, program)))) {
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {}
  }
  throw new Error(`none of ${wanted.programs.join(', ')} is there: on Debian, apt-get install ${wanted.package}`);
}
