/**
 * Builds both packages, `@rowcast/client` into client/dist and `rowcast` into dist: node build.mjs
 *
 * Each is built into a folder of its own, which then takes the place of the last build: `npx rowcast` works meanwhile.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);
const run = (...args) => execFileSync(process.execPath, args, { cwd: import.meta.dirname, stdio: 'inherit' });
const here = (path) => join(import.meta.dirname, path);
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin/tsc');
const compile = (project, folder) => run(tsc, '-p', project, '--outDir', here(folder));

const remove = (folder) => rmSync(here(folder), { recursive: true, force: true });

/** Puts what was built in the place of the last build. */
function replace(folder) {
  if (existsSync(here(folder))) renameSync(here(folder), here(`${folder}.old`));
  renameSync(here(`${folder}.new`), here(folder));
  remove(`${folder}.old`);
}

/** What the page of the HTTP API needs of swagger-ui, and the texts that its licence wants beside them. */
const SWAGGER_UI = [
  'swagger-ui.css',
  'swagger-ui-bundle.js',
  'favicon-32x32.png',
  'LICENSE',
  'NOTICE',
  'swagger-ui-bundle.js.LICENSE.txt',
];

// What a build that was ended has left behind. A file whose source is gone would be published otherwise.
for (const folder of ['dist', 'client/dist']) for (const end of ['new', 'old']) remove(`${folder}.${end}`);

// The client first: the server is compiled against what the client's package exports.
compile('client/tsconfig.build.json', 'client/dist.new');
run('bundle.mjs', here('client/dist.new/browser'));
cpSync(here('client/react/ui/theme.css'), here('client/dist.new/react/ui/theme.css'));
replace('client/dist');
compile('tsconfig.build.json', 'dist.new');
cpSync(here('client/react/ui/theme.css'), here('dist.new/theme.css'));
run('dashboard.mjs', here('dist.new/dashboard'));

// Copied, and no dependency: the package depends on one that reports each installation.
const swaggerUi = dirname(require.resolve('swagger-ui-dist/package.json'));
for (const file of SWAGGER_UI) cpSync(join(swaggerUi, file), here(`dist.new/server/http/api/swagger-ui/${file}`));

chmodSync(here('dist.new/server/main.js'), 0o755);
replace('dist');
