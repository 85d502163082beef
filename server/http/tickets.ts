import { type RequestHandler, Router } from 'express';
import { Refusal } from '../ground/refusal.js';
import type { PrincipalOf, Tickets } from '../ports/principal.js';
import { refuseMethod } from './methods.js';

export interface TicketRoutesOptions {
  readonly tickets: Pick<Tickets, 'issue'>;
  readonly principalOf: PrincipalOf;
  /** The rate limit of requests. */
  readonly limit: RequestHandler;
}

/** Issues tickets: a request with a token gets one for the same principal. */
export function ticketRoutes({ tickets, principalOf, limit }: TicketRoutesOptions): Router {
  const router = Router();
  router
    .route('/v1/tickets')
    .all(limit)
    .post(async (request, response) => {
      const principal = await principalOf(request);
      // Anonymous clients need no ticket, and must not be able to fill the table.
      if (principal.role === 'anon') throw new Refusal('unauthorized', 'a token is required to get a ticket');
      response
        .status(201)
        .set('Cache-Control', 'no-store')
        .json(await tickets.issue(principal));
    })
    .all(refuseMethod('POST'));
  return router;
}
