/**
 * Declarations of the routes of the HTTP API. Each route is declared once, with the schemas of its parts: the router
 * serves it, and the OpenAPI document describes it.
 */
import type { AnyErrorCode } from '@rowcast/client/protocol';
import type { z } from 'zod';
import type { Database } from './database.js';
import type { Principal } from './principal.js';

/** The input of a handler: each part of the request, as its schema has parsed it. */
export interface RouteInput<Params, Query, Headers, Body> {
  readonly params: Params;
  readonly query: Query;
  /** By the names of the schema, whatever their case in the request. */
  readonly headers: Headers;
  readonly body: Body;
  /** The path of the request, without its query. */
  readonly path: string;
  readonly principal: Principal;
  /** The database with the rights of the principal. */
  readonly database: Database;
  /** The same for queries that may read a whole channel, of which only a few run at a time. */
  readonly searching: Database;
  /** Whether the client has disconnected. */
  readonly gone: () => boolean;
}

export interface RouteResponse {
  readonly status: number;
  /** Sent as JSON. Undefined: no body. */
  readonly body?: unknown;
  /** Sent as ETag. A request with the same If-None-Match gets 304 without a body. */
  readonly etag?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface DocumentedResponse {
  readonly description: string;
  readonly body?: z.ZodType;
  readonly headers?: z.ZodObject;
}

/** The documented part of a route: everything except its handler. */
interface Description {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  /** Below `/api`, with parameters as `:name`. */
  readonly path: `/${string}`;
  /** The operationId, which names the operation in generated clients. */
  readonly id: string;
  /** One of the tags of its `Api`. */
  readonly tag: string;
  readonly summary: string;
  /** Markdown. */
  readonly description?: string;
  readonly params?: z.ZodObject;
  /** A strict object: unknown names are refused, because a misspelt parameter would be ignored silently. */
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly body?: z.ZodType;
  readonly bodyExamples?: Readonly<Record<string, unknown>>;
  readonly responses: Readonly<Record<number, DocumentedResponse>>;
  /** Error codes in addition to those that every operation may return. */
  readonly refusals: readonly AnyErrorCode[];
  /** Called before the body is read. Rejects with `Refusal` if the principal may not even see what the request is about. */
  admit?(
    input: Pick<RouteInput<unknown, unknown, unknown, unknown>, 'params' | 'principal' | 'database'>,
  ): Promise<void>;
  /** Whose data a request is about, if its path or query shows it. */
  tenantOf?(parts: { readonly params: unknown; readonly query: unknown }): string | undefined;
}

/** One operation of the API. */
export interface Route extends Description {
  // The router has parsed each part by the schemas above before it calls the handler.
  readonly handle: (input: RouteInput<unknown, unknown, unknown, unknown>) => Promise<RouteResponse>;
}

/** Whether a request without a body means `{}`: no field of the body is required. */
export const bodyIsOptional = ({ body }: Route): boolean => body?.safeParse({}).success === true;

type Declaration<P, Q, H, B> = Omit<Description, 'params' | 'query' | 'headers' | 'body'> & {
  readonly params?: P;
  readonly query?: Q;
  readonly headers?: H;
  readonly body?: B;
  handle(input: RouteInput<z.output<P>, z.output<Q>, z.output<H>, z.output<B>>): Promise<RouteResponse>;
};

/** Declares a route. The input of the handler has the types of the schemas. */
export function route<P extends z.ZodObject, Q extends z.ZodObject, H extends z.ZodObject, B extends z.ZodType>(
  declaration: Declaration<P, Q, H, B>,
): Route {
  return declaration as unknown as Route;
}

/** A part of the HTTP API under `/api`, served and documented with the others. */
export interface Api {
  /** A paragraph about it in Markdown, for the description of the document. */
  readonly about: string;
  /** The tags of the document with their descriptions, in the order of the document. */
  readonly tags: Readonly<Record<string, string>>;
  readonly routes: readonly Route[];
}
