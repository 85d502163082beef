import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import { packageRoot } from '../../server/ground/package-root.js';

export interface Pages {
  /** Of another site than the gateway: `http://localhost:8123`, where that is at 127.0.0.1. */
  readonly origin: string;
  close(): Promise<void>;
}

/**
 * Serves test/browser/pages, docs/examples, and the client as one would put it on any web server: `/rowcast.js` and its
 * chunks.
 * `?connect=…` limits where a page may connect, by Content-Security-Policy.
 */
export async function servePages(): Promise<Pages> {
  const scripts = mkdtempSync(join(tmpdir(), 'rowcast-browser-'));
  execFileSync(process.execPath, ['bundle.mjs', scripts], { cwd: packageRoot() });
  const app = express();
  app.use(express.static(scripts));
  app.use((request, response, next) => {
    const { connect } = request.query;
    if (typeof connect === 'string') response.set('Content-Security-Policy', `connect-src ${connect}`);
    next();
  });
  app.use(express.static(join(import.meta.dirname, 'pages')));
  app.use('/examples/plain/node_modules/@rowcast/client/dist/browser', express.static(scripts));
  app.use('/examples', express.static(join(packageRoot(), 'docs/examples')));
  const server = createServer(app);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://localhost:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
      rmSync(scripts, { recursive: true });
    },
  };
}
