/**
 * Runs the built page of a project in jsdom, and prints its text as soon as it matches:
 * node app-in-page.mjs <dist of the project> <query> <pattern>
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { JSDOM } from 'jsdom';

const [, , dist = '', query, pattern = ''] = process.argv;
const { window } = new JSDOM('<!doctype html><main></main>', { url: `http://page.test/?${query}` });
const { document, location } = window;
// Node has fetch; of a page it lacks these.
Object.assign(globalThis, { window, document, location, MutationObserver: window.MutationObserver });
Object.defineProperty(globalThis, 'navigator', { value: window.navigator, configurable: true });

const script = readdirSync(join(dist, 'assets')).find((file) => /^index.*\.js$/.test(file));
await import(join(dist, 'assets', script));
const timer = setInterval(() => {
  const text = document.body.textContent;
  if (!new RegExp(pattern).test(text)) return;
  clearInterval(timer);
  console.log(text);
  process.exit();
}, 20);
setTimeout(() => {
  console.log(`still: ${document.body.textContent}`);
  process.exit(1);
}, 20_000);
