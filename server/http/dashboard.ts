/**
 * Serves the page at `/`: the files that a build of client/dashboard made. They are kept in memory, and compressed once. Every
 * path that is nothing else shows the page to a browser, so that a reload and a link work. Other clients get one line of text at
 * `/`, and 404 elsewhere.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { type Response, Router } from 'express';
import { packageRoot } from '../ground/package-root.js';
import { endCompressed } from './compression.js';

/** The types of the files that a build makes. Others are not served. */
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** How long a browser may keep a file whose name contains its hash, in seconds: a year. */
const FOREVER = 31_536_000;

/** What `curl` shows at `/`. */
const GREETING = 'Rowcast, a push gateway for PostgreSQL. A browser shows its page here.\n';

/** What belongs to the gateway, where a path that does not exist is an error. */
const RESERVED = /^\/(api|v1|assets)(\/|$)/;

/** The folder of a build of the page; null if there is none, as in the source tree before the first build. */
export function builtDashboard(): string | null {
  const folder = join(packageRoot(), 'dist/dashboard');
  return existsSync(join(folder, 'index.html')) ? folder : null;
}

/** `extensions`: their names, which the page reads to know what it can ask for. */
export function dashboardRoutes(folder: string, extensions: readonly string[]): Router {
  const told = `<meta name="rowcast-extensions" content="${extensions.join(' ')}" />`;
  const page = readFileSync(join(folder, 'index.html'), 'utf8').replace('</head>', `${told}</head>`);
  const files = new Map(readdirSync(join(folder, 'assets')).map((name) => [name, join(folder, 'assets', name)]));
  const bodies = new Map<string, Buffer>();
  const router = Router();
  router.get('/assets/:name', async (request, response, next) => {
    const { name } = request.params;
    const path = files.get(name);
    const type = TYPES[extname(name)];
    if (path === undefined || type === undefined) return next();
    const body = bodies.get(name) ?? readFileSync(path);
    bodies.set(name, body);
    response.set({ 'Content-Type': type, 'Cache-Control': `public, max-age=${FOREVER}, immutable` });
    await endCompressed(request, response, body);
  });
  // No parameter: one that cannot be decoded would be an error of its own.
  router.get(/^\//, async (request, response, next) => {
    if (RESERVED.test(request.path)) return next();
    if ((request.get('Accept') ?? '').includes('text/html')) return sendPage(response, page, request.path);
    if (request.path !== '/') return next();
    response.type('text').vary('Accept').send(GREETING);
  });
  return router;
}

/** The page refers to its files relatively, so that it works behind any path prefix: the depth of the path decides how. */
function sendPage(response: Response, page: string, path: string): void {
  const up = '../'.repeat(path.split('/').length - 2) || './';
  response
    .type('html')
    .set('Cache-Control', 'no-cache')
    .vary('Accept')
    .send(page.replaceAll('="./', `="${up}`));
}
