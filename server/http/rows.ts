import { type RequestHandler, Router } from 'express';
import { Refusal } from '../ground/refusal.js';
import type { Delivery } from '../limits/delivery.js';
import { Shares } from '../limits/shares.js';
import type { UserLimits } from '../limits/users.js';
import type { PrincipalOf, Rights } from '../ports/principal.js';
import type { Rows } from '../ports/rows.js';
import { isNotModified } from './caching.js';
import { refuseMethod } from './methods.js';
import { searchOf } from './request.js';

/** Maximum number of rows in a page. */
const MAX_ROWS = 10_000;

/** Pages of one user that wait for the one that is being read. The pages share their connections with the history of all channels. */
const MAX_WAITING = 100;

export interface RowsRoutesOptions {
  readonly rows: Rows;
  readonly access: Rights;
  readonly principalOf: PrincipalOf;
  /** The rate limit of requests. */
  readonly limit: RequestHandler;
  /** Bounds the responses that wait to be read. */
  readonly delivery: Delivery;
  /** Bounds the bytes that are sent to a user. */
  readonly users: Pick<UserLimits, 'send' | 'refuseInDebt'>;
}

/** The snapshot of a channel: its present rows, and the position at which its events continue. */
export function rowsRoutes({ rows, access, principalOf, limit, delivery, users }: RowsRoutesOptions): Router {
  const turns = new Shares(1, MAX_WAITING);
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
      users.refuseInDebt(principal);
      const read = () => rows.rows(channel, { after: search.get('after'), limit: Math.min(wanted, MAX_ROWS) });
      const { role, subject } = principal;
      const page = await (role === 'service_role' ? read() : turns.run(subject, () => response.destroyed, read));
      if (page === null) throw new Refusal('unknown_channel');
      response.set('ETag', `"${page.position}"`).type('application/json');
      const next = page.more ? (page.ids.at(-1) ?? null) : null;
      const { ids } = page;
      // The rows are JSON already.
      const text = `{"position":${JSON.stringify(page.position)},"next":${JSON.stringify(next)},"ids":${JSON.stringify(ids)},"rows":[${page.rows.join(',')}]}`;
      const body = Buffer.from(text);
      delivery.refuse(body.length, subject);
      delivery.give(response, body.length, subject);
      users.send(principal, body.length);
      response.end(body);
    })
    .all(refuseMethod('GET'));
  return router;
}
