import { type AnyErrorCode, errors } from '@rowcast/client/protocol';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import { STATUS } from '../status.js';
import { requestIdOf } from './request-id.js';

const fault = z.object({
  path: z.string().meta({ description: 'Where, such as `query.limit` or `body.logs.3.message`.' }),
  message: z.string(),
});

/** One field of a request that has the wrong form. */
export type Fault = z.output<typeof fault>;

const codes = Object.keys(errors) as [AnyErrorCode, ...AnyErrorCode[]];

/** Every refusal of the API (RFC 9457). */
export const problem = z
  .object({
    type: z.string().meta({ description: '`urn:rowcast:error:` and the code.' }),
    title: z.string().meta({ description: 'What the code means, always the same text.' }),
    status: z.int(),
    detail: z.string().meta({ description: 'What was wrong this time, for people.' }),
    code: z.enum(codes).meta({ description: 'For programs.' }),
    request_id: z.string().meta({ description: 'As in the header X-Request-Id and in the log of the gateway.' }),
    errors: z.array(fault).optional().meta({ description: 'Each field that is wrong, with `invalid_request`.' }),
  })
  .meta({ id: 'Problem' });

export const PROBLEM_TYPE = 'application/problem+json';

/** Says of each field what is wrong with it. */
export class InvalidRequest extends Refusal {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    super('invalid_request', faults.map(({ path, message }) => `${path}: ${message}`).join('; '));
    this.faults = faults;
  }
}

export function problemOf(refusal: Refusal, requestId: string): z.output<typeof problem> {
  const { code, message } = refusal;
  return {
    type: `urn:rowcast:error:${code}`,
    title: errors[code].meaning,
    status: STATUS[code],
    detail: message,
    code,
    request_id: requestId,
    ...(refusal instanceof InvalidRequest ? { errors: [...refusal.faults] } : {}),
  };
}

/** Answers with a refusal. Headers that go with its status are set already. */
export function sendProblem(request: Request, response: Response, refusal: Refusal): void {
  const problem = problemOf(refusal, requestIdOf(request, response));
  response.type(PROBLEM_TYPE).send(JSON.stringify(problem));
}
