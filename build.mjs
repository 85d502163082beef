/**
 * Builds both packages, `@rowcast/client` into client/dist and `rowcast` into dist: node build.mjs
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);
const run = (...args) => execFileSync(process.execPath, args, { cwd: import.meta.dirname, stdio: 'inherit' });
const compile = (project) => run(join(dirname(require.resolve('typescript/package.json')), 'bin/tsc'), '-p', project);
const here = (path) => join(import.meta.dirname, path);

/** What the page of the HTTP API needs of swagger-ui, and the texts that its licence wants beside them. */
const SWAGGER_UI = [
  'swagger-ui.css',
  'swagger-ui-bundle.js',
  'favicon-32x32.png',
  'LICENSE',
  'NOTICE',
  'swagger-ui-bundle.js.LICENSE.txt',
];

// A file whose source is gone would be published otherwise.
for (const folder of ['dist', 'client/dist']) rmSync(here(folder), { recursive: true, force: true });

// The client first: the server is compiled against what the client's package exports.
compile('client/tsconfig.build.json');
run('bundle.mjs');
run('dashboard.mjs');
compile('tsconfig.build.json');
cpSync(here('client/react/ui/theme.css'), here('client/dist/react/ui/theme.css'));

// Copied, and no dependency: the package depends on one that reports each installation.
const swaggerUi = dirname(require.resolve('swagger-ui-dist/package.json'));
for (const file of SWAGGER_UI) cpSync(join(swaggerUi, file), here(`dist/server/http/api/swagger-ui/${file}`));

chmodSync(here('dist/server/main.js'), 0o755);
