import { type RequestHandler, Router } from 'express';
import { Refusal } from '../ground/refusal.js';
import type { PrincipalOf, Rights } from '../ports/principal.js';
import type { Rows } from '../ports/rows.js';
import { isNotModified } from './caching.js';
import { refuseMethod } from './methods.js';
import { searchOf } from './request.js';

/** Maximum number of rows in a page. */
const MAX_ROWS = 10_000;

export interface RowsRoutesOptions {
  readonly rows: Rows;
  readonly access: Rights;
  readonly principalOf: PrincipalOf;
  /** The rate limit of requests. */
  readonly limit: RequestHandler;
}

/** The snapshot of a channel: its present rows, and the position at which its events continue. */
export function rowsRoutes({ rows, access, principalOf, limit }: RowsRoutesOptions): Router {
  const router = Router();
  router
    .route('/v1/rows/:stream/:key')
    .all(limit)
    .get(async (request, response) => {
      const channel = `${request.params.stream}:${request.params.key}`;
      const search = searchOf(request);
      const wanted = Number(search.get('limit') ?? MAX_ROWS);
      if (!Number.isInteger(wanted) || wanted < 1)
        throw new Refusal('invalid_request', 'limit must be a whole number from 1 on');
      const principal = await principalOf(request);
      const permit = await access.hold(principal, channel, () => {});
      permit.release();
      response.set('Cache-Control', 'private, no-cache').vary('Authorization, Cookie');
      const position = await rows.position(channel);
      if (position === null) throw new Refusal('unknown_channel');
      // What does not change the position does not change a row.
      response.set('ETag', `"${position}"`);
      if (isNotModified(request, response)) return void response.status(304).end();
      const page = await rows.rows(channel, { after: search.get('after'), limit: Math.min(wanted, MAX_ROWS) });
      if (page === null) throw new Refusal('unknown_channel');
      response.set('ETag', `"${page.position}"`).type('application/json');
      const next = page.more ? (page.ids.at(-1) ?? null) : null;
      const { ids } = page;
      // The rows are JSON already.
      response.end(
        `{"position":${JSON.stringify(page.position)},"next":${JSON.stringify(next)},"ids":${JSON.stringify(ids)},"rows":[${page.rows.join(',')}]}`,
      );
    })
    .all(refuseMethod('GET'));
  return router;
}
