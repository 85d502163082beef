import { type AnyErrorCode, errors } from '@rowcast/client/protocol';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { Refusal } from '../../ground/refusal.js';
import { STATUS } from '../status.js';
import { requestIdOf } from './request-id.js';

const fault = z.object({
  path: z.string().meta({ description: 'The field, such as `query.limit` or `body.logs.3.message`.' }),
  message: z.string(),
});

/** One invalid field of a request. */
export type Fault = z.output<typeof fault>;

const codes = Object.keys(errors) as [AnyErrorCode, ...AnyErrorCode[]];

/** The body of every error response of the API (RFC 9457). */
export const problem = z
  .object({
    type: z.string().meta({ description: '`urn:rowcast:error:`, followed by the code.' }),
    title: z.string().meta({ description: 'The meaning of the code. It is the same text every time.' }),
    status: z.int(),
    detail: z.string().meta({ description: 'What was wrong with this request, for people.' }),
    code: z.enum(codes).meta({ description: 'For programs.' }),
    request_id: z
      .string()
      .meta({ description: 'The value of the header X-Request-Id, which is also in the log of the gateway.' }),
    errors: z
      .array(fault)
      .optional()
      .meta({ description: 'The invalid fields, up to 100, if the code is `invalid_request`.' }),
  })
  .meta({ id: 'Problem' });

export const PROBLEM_TYPE = 'application/problem+json';

/** Maximum number of invalid fields in a response, and of characters about each. A body may have many, and long names. */
const MOST_FAULTS = 100;
const LONGEST = 300;

/** The refusal of a request with invalid fields. It lists them. */
export class InvalidRequest extends Refusal {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    const listed = faults.slice(0, MOST_FAULTS).map(({ path, message }) => ({
      path: path.slice(0, LONGEST),
      message: message.slice(0, LONGEST),
    }));
    super('invalid_request', listed.map(({ path, message }) => `${path}: ${message}`).join('; '));
    this.faults = listed;
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

/** Sends a refusal as problem+json. The caller has set the status and the headers that belong to it. */
export function sendProblem(request: Request, response: Response, refusal: Refusal): void {
  const problem = problemOf(refusal, requestIdOf(request, response));
  response.type(PROBLEM_TYPE).send(JSON.stringify(problem));
}
