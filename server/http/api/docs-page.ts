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

/** A separate file: the content security policy forbids inline scripts. */
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

/** How long browsers may cache the files of the page, in seconds. */
const KEEP = 3_600;

/** The folder of swagger-ui: a copy beside this module in a build, the development dependency otherwise. */
function swaggerUi(): string {
  const copied = join(import.meta.dirname, 'swagger-ui');
  if (existsSync(copied)) return copied;
  return dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
}

/** Serves the OpenAPI document as an interactive page. All its files come from this gateway, so that it works offline. */
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
