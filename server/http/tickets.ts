import { type RequestHandler, Router } from 'express';
import { Refusal } from '../ground/refusal.js';
import type { PrincipalOf, Tickets } from '../ports/principal.js';
import { refuseMethod } from './methods.js';

export interface TicketRoutesOptions {
  readonly tickets: Pick<Tickets, 'issue'>;
  readonly principalOf: PrincipalOf;
  /** What every request has to pass first. */
  readonly limit: RequestHandler;
}

/** Gives whoever shows a token a ticket in its place. */
export function ticketRoutes({ tickets, principalOf, limit }: TicketRoutesOptions): Router {
  const router = Router();
  router
    .route('/v1/tickets')
    .all(limit)
    .post(async (request, response) => {
      const principal = await principalOf(request);
      // Whoever needs no token needs no ticket, and is not to fill a table.
      if (principal.role === 'anon') throw new Refusal('unauthorized', 'a ticket is given for a token');
      response
        .status(201)
        .set('Cache-Control', 'no-store')
        .json(await tickets.issue(principal));
    })
    .all(refuseMethod('POST'));
  return router;
}
