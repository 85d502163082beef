/**
 * Makes the OpenAPI document from the declarations of the routes, which also serve the requests: a route cannot be
 * missing from the document, or differ from it. The router calls it for the first request of `/api/openapi.json`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AnyErrorCode, errors } from '@rowcast/client/protocol';
import { z } from 'zod';
import {
  createDocument,
  type ZodOpenApiOperationObject,
  type ZodOpenApiOverride,
  type ZodOpenApiResponsesObject,
} from 'zod-openapi';
import { packageRoot } from '../../ground/package-root.js';
import { Refusal } from '../../ground/refusal.js';
import { type Api, bodyIsOptional, type Route } from '../../ports/route.js';
import { STATUS } from '../status.js';
import { PROBLEM_TYPE, problem, problemOf } from './problem.js';
import { securityOf, type Tokens } from './security.js';

/** The error codes that every operation may return. */
const ALWAYS: readonly AnyErrorCode[] = [
  'unauthorized',
  'token_expired',
  'token_not_yet_valid',
  'forbidden',
  'forbidden_origin',
  'rate_limited',
  'internal',
  'unavailable',
];

/** The last paragraph of the document, which applies to all APIs. */
const ABOUT = `Every response has an \`X-Request-Id\`: yours, if you sent one of 1 to 64 letters, digits, \`.\`, \`_\` or \`-\`. Every error is
\`application/problem+json\` (RFC 9457); programs should use its \`code\`.`;

const requestId = z.object({
  'X-Request-Id': z.string().meta({ description: 'Identifies this request in logs and rows.' }),
});

/** Returns the OpenAPI document of all `apis`. `tokens` is null if the gateway has no key for tokens. */
export function openApi(apis: readonly Api[], tokens: Tokens | null): ReturnType<typeof createDocument> {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {};
  for (const route of apis.flatMap(({ routes }) => routes)) {
    const path = `/api${route.path.replaceAll(/:(\w+)/g, '{$1}')}`;
    paths[path] = { ...paths[path], [route.method]: operation(route) };
  }
  return createDocument(
    {
      openapi: '3.1.0',
      info: { title: 'Rowcast', version, description: [...apis.map(({ about }) => about), ABOUT].join('\n\n') },
      servers: [{ url: '/', description: 'This gateway' }],
      tags: apis.flatMap(({ tags }) => Object.entries(tags).map(([name, description]) => ({ name, description }))),
      paths,
      ...securityOf(tokens),
    },
    { override: plain },
  );
}

/** Omits bounds and patterns that follow from the type: those of a safe integer, a UUID or a timestamp. */
const plain: ZodOpenApiOverride = ({ jsonSchema }) => {
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  if (jsonSchema.format === 'uuid' || jsonSchema.format === 'date-time') delete jsonSchema.pattern;
};

function operation(route: Route): ZodOpenApiOperationObject {
  const { id, tag, summary, description, params, query, headers, body, bodyExamples } = route;
  const json = {
    ...(body === undefined ? {} : { schema: body }),
    ...(bodyExamples === undefined ? {} : { examples: valued(bodyExamples) }),
  };
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    requestParams: {
      ...(params === undefined ? {} : { path: params }),
      ...(query === undefined ? {} : { query }),
      ...(headers === undefined ? {} : { header: headers }),
    },
    ...(body === undefined
      ? {}
      : { requestBody: { required: !bodyIsOptional(route), content: { 'application/json': json } } }),
    responses: { ...responsesOf(route), ...refusalsOf(route) },
  };
}

const valued = (examples: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(examples).map(([name, value]) => [name, { value }]));

function responsesOf({ responses }: Route): ZodOpenApiResponsesObject {
  return Object.fromEntries(
    Object.entries(responses).map(([status, { description, body, headers }]) => [
      status,
      {
        description,
        headers: headers === undefined ? requestId : requestId.extend(headers.shape),
        ...(body === undefined ? {} : { content: { 'application/json': { schema: body } } }),
      },
    ]),
  );
}

function refusalsOf({ params, query, headers, body, refusals }: Route): ZodOpenApiResponsesObject {
  const codes = new Set<AnyErrorCode>([...ALWAYS, ...refusals]);
  if (params ?? query ?? headers ?? body) codes.add('invalid_request');
  if (body !== undefined) codes.add('invalid_json').add('frame_too_large');
  const statuses = [...new Set([...codes].map((code) => STATUS[code]))].sort();
  return Object.fromEntries(
    statuses.map((status) => {
      const same = [...codes].filter((code) => STATUS[code] === status);
      const examples = Object.fromEntries(
        same.map((code) => [code, { value: problemOf(new Refusal(code), 'run-42') }]),
      );
      return [
        status,
        {
          description: same.map((code) => `\`${code}\`: ${errors[code].meaning}`).join('\n\n'),
          ...(status === 429 || status === 503 ? { headers: retryAfter } : {}),
          content: { [PROBLEM_TYPE]: { schema: problem, examples } },
        },
      ];
    }),
  );
}

const retryAfter = z.object({
  'Retry-After': z.int().optional().meta({ description: 'Seconds to wait before you retry.' }),
});
