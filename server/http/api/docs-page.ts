import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Router } from 'express';

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Rowcast: the HTTP API</title>
    <link rel="stylesheet" href="/api/docs/swagger-ui.css">
    <link rel="icon" href="/api/docs/favicon-32x32.png">
  </head>
  <body>
    <div id="api"></div>
    <script src="/api/docs/swagger-ui-bundle.js"></script>
    <script src="/api/docs/page.js"></script>
  </body>
</html>
`;

/** A file of its own: the page allows no script that stands in it. */
const SCRIPT = `SwaggerUIBundle({
  url: '/api/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
`;

/** How long a browser may keep the files of the page, in seconds. */
const KEEP = 3_600;

/** The files of swagger-ui: the build copies them beside this module; the source takes them from the development dependency. */
function swaggerUi(): string {
  const copied = join(import.meta.dirname, 'swagger-ui');
  if (existsSync(copied)) return copied;
  return dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
}

/** The document as a page to read and to try. All of it comes from this gateway: it works offline. */
export function docsPage(): Router {
  const router = Router();
  const folder = swaggerUi();
  const files = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'];
  router.get('/', (_request, response) => {
    response.type('html').set('Cache-Control', 'no-cache').send(PAGE);
  });
  router.get('/page.js', (_request, response) => {
    response.type('text/javascript').set('Cache-Control', 'no-cache').send(SCRIPT);
  });
  for (const file of files) {
    router.get(`/${file}`, (_request, response) => {
      response.sendFile(join(folder, file), { maxAge: KEEP * 1000 });
    });
  }
  return router;
}
