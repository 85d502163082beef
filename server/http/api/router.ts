/**
 * Serves the HTTP API under `/api` from the declarations of its routes: authenticates the request, parses its parts by
 * their schemas, calls the handler with a database of the right pool, and sends the response. A handler is called only
 * with input that its schemas accept.
 */
import { type Request, type RequestHandler, type Response, Router } from 'express';
import type { z } from 'zod';
import type { Logger } from '../../ground/logger.js';
import { OneAtATime } from '../../ground/one-at-a-time.js';
import { Refusal } from '../../ground/refusal.js';
import type { Delivery } from '../../limits/delivery.js';
import type { UserLimits } from '../../limits/users.js';
import type { DatabaseFor, Use } from '../../ports/database.js';
import type { Principal, PrincipalOf } from '../../ports/principal.js';
import { type Api, bodyIsOptional, type Route } from '../../ports/route.js';
import { type BodyReader, bodyReader, type Charge, parseBody } from '../body.js';
import { isNotModified } from '../caching.js';
import { refuseMethod } from '../methods.js';
import { docsPage } from './docs-page.js';
import { openApi } from './openapi.js';
import { type Fault, InvalidRequest } from './problem.js';
import { requestIdOf } from './request-id.js';
import type { Tokens } from './security.js';

export interface ApiOptions {
  readonly apis: readonly Api[];
  /** Null if the gateway has no key for tokens. */
  readonly tokens: Tokens | null;
  readonly principalOf: PrincipalOf;
  readonly databaseFor: DatabaseFor;
  /** The rate limit by address. It runs before everything else. */
  readonly limit: RequestHandler;
  readonly maxBodyBytes: number;
  readonly charge: Charge;
  /** Bounds the responses that wait to be read. */
  readonly delivery: Delivery;
  /** Bounds the bytes that are sent to a user. */
  readonly users: Pick<UserLimits, 'send' | 'refuseInDebt'>;
  readonly logger: Logger;
}

/** Bodies with more characters than these are taken one at a time for each user. */
const LARGE = 64 * 1024;
/** Maximum number of fields of a body. Counted before anything else is done with them. */
const MOST_FIELDS = 100;

/** Paths match exactly: `/API` and a trailing slash are other paths, which do not exist. */
const EXACT = { caseSensitive: true, strict: true };

/** Returns the router of the HTTP API: its operations, its OpenAPI document, and the page that shows the document. */
export function apiRoutes(options: ApiOptions): Router {
  const { apis, tokens, limit, maxBodyBytes, charge } = options;
  const routes = apis.flatMap((api) => api.routes);
  const router = Router(EXACT);
  router.use((request, response, next) => {
    requestIdOf(request, response);
    next();
  });
  router.use(limit); // also the page and the document, which are large and need no token
  let document: Buffer | undefined; // made for the first request
  router.get('/openapi.json', (_request, response) => {
    document ??= Buffer.from(JSON.stringify(openApi(apis, tokens)));
    response.type('application/json').set('Cache-Control', 'no-cache').send(document);
  });
  router.use('/docs', docsPage());
  const serving: Serving = {
    ...options,
    bodyOf: bodyReader({ maxBytes: maxBodyBytes, unreadable: 'invalid_request', charge }),
    largeBodies: new OneAtATime(),
  };
  for (const path of new Set(routes.map((route) => route.path))) {
    const resource = router.route(path);
    const operations = routes.filter((route) => route.path === path);
    for (const route of operations) {
      resource[route.method]((request, response) => serve(route, request, response, serving));
    }
    const methods = operations.map(({ method }) => method.toUpperCase());
    const allowed = [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
    resource.all(refuseMethod(allowed));
  }
  return Router(EXACT).use('/api', router);
}

interface Serving extends Pick<ApiOptions, 'principalOf' | 'databaseFor' | 'delivery' | 'users' | 'logger'> {
  readonly bodyOf: BodyReader;
  readonly largeBodies: OneAtATime;
}

/** Leaves a turn of the event loop to others. */
const othersFirst = () => new Promise<void>((resolve) => setImmediate(resolve));

async function serve(route: Route, request: Request, response: Response, options: Serving): Promise<void> {
  const requestId = requestIdOf(request, response);
  if (options.logger.isLevelEnabled('debug')) logWhenAnswered(route, requestId, response, options.logger);
  const principal = await options.principalOf(request);
  const { params } = route;
  const target = route.admit === undefined ? undefined : params?.safeParse(request.params);
  const short = () => options.databaseFor({ principal, requestId, use: 'short', gone: () => response.destroyed });
  if (target?.success) await route.admit?.({ params: target.data, principal, database: short() });
  // After that: a client without a token, or without a right, cannot make the gateway read a body.
  const text = route.body === undefined ? undefined : await options.bodyOf(request, async () => principal);
  const exchange = { route, request, response, options, principal, requestId };
  if (text === undefined) return respond(exchange, undefined);
  if (text === '' && bodyIsOptional(route)) return respond(exchange, {});
  if (text.length <= LARGE) return respond(exchange, accepted(parseBody(text, 'invalid_request')));
  // What a large body costs, here and in the database, delays the other large bodies of its user, and no other user for long.
  const line = principal.role === 'service_role' ? requestId : principal.subject; // services are trusted
  return options.largeBodies.run(line, async () => {
    if (response.destroyed) return;
    await othersFirst();
    const json = parseBody(text, 'invalid_request');
    await othersFirst();
    accepted(json);
    await othersFirst();
    await respond(exchange, json);
  });
}

interface Exchange {
  readonly route: Route;
  readonly request: Request;
  readonly response: Response;
  readonly options: Serving;
  readonly principal: Principal;
  readonly requestId: string;
}

/** Calls the handler and sends its response. */
async function respond({ route, request, response, options, principal, requestId }: Exchange, json: unknown) {
  const gone = () => response.destroyed;
  if (route.method === 'get') options.users.refuseInDebt(principal);
  const parts = read(route, request, json);
  const tenant = route.tenantOf?.(parts);
  const databaseFor = (use: Use) => options.databaseFor({ principal, requestId, use, tenant, gone });
  const { status, body, etag, headers } = await route.handle({
    ...parts,
    path: `${request.baseUrl}${request.path}`,
    principal,
    database: databaseFor(route.method === 'get' ? 'read' : 'write'),
    gone,
    get searching() {
      return databaseFor('search');
    },
  });
  response
    .status(status)
    .vary('Authorization, Cookie')
    .set({ 'Cache-Control': 'no-store', ...headers });
  if (etag !== undefined) response.set('ETag', etag);
  if (etag !== undefined && isNotModified(request, response)) response.status(304).end();
  else if (body === undefined) response.end();
  else {
    response.set('Content-Type', 'application/json');
    const bytes = Buffer.from(JSON.stringify(body));
    // Not for writes: they are committed, and a client that gets an error would repeat them.
    if (route.method === 'get') options.delivery.refuse(bytes.length, principal.subject);
    options.delivery.give(response, bytes.length, principal.subject);
    options.users.send(principal, bytes.length);
    response.end(bytes);
  }
}

function logWhenAnswered(route: Route, requestId: string, response: Response, logger: Logger): void {
  const begun = performance.now();
  response.once('close', () => {
    const ms = Math.round(performance.now() - begun);
    logger.debug({ request_id: requestId, operation: route.id, status: response.statusCode, ms }, 'answered');
  });
}

/** Parses each part of a request by its schema. Throws `InvalidRequest` with all faults at once. */
function read(route: Route, request: Request, json: unknown) {
  const faults: Fault[] = [];
  const part = (name: string, schema: z.ZodType | undefined, value: () => unknown): unknown => {
    if (schema === undefined) return undefined;
    const parsed = schema.safeParse(value());
    if (parsed.success) return parsed.data;
    for (const { path, message } of parsed.error.issues) faults.push({ path: [name, ...path].join('.'), message });
    return undefined;
  };
  const names = Object.keys(route.headers?.shape ?? {});
  const parts = {
    params: part('path', route.params, () => request.params),
    query: part('query', route.query, () => ({ ...request.query })),
    headers: part('header', route.headers, () => Object.fromEntries(names.map((name) => [name, request.get(name)]))),
    body: part('body', route.body, () => json),
  };
  if (faults.length > 0) throw new InvalidRequest(faults);
  return parts;
}

/**
 * Returns a parsed body. Refuses one with many fields, and values that are valid JSON but that JavaScript would lose silently. A loop:
 * JSON may be nested deeper than calls.
 */
function accepted(json: unknown): unknown {
  if (Object.keys(Object(json)).length > MOST_FIELDS && !Array.isArray(json)) {
    throw new InvalidRequest([{ path: 'body', message: `must have at most ${MOST_FIELDS} fields` }]);
  }
  const nested: object[] = [];
  const look = (value: unknown) => {
    if (value === Infinity || value === -Infinity) throw new Refusal('invalid_request', 'a number is too large');
    if (typeof value === 'object' && value !== null) nested.push(value);
  };
  look(json);
  for (let value = nested.pop(); value !== undefined; value = nested.pop()) {
    if (Object.hasOwn(value, '__proto__')) throw new Refusal('invalid_request', 'the body has the name __proto__');
    if (Array.isArray(value)) for (const part of value) look(part);
    else for (const name in value) look((value as Record<string, unknown>)[name]);
  }
  return json;
}
