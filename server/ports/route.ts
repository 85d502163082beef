import type { AnyErrorCode } from '@rowcast/client/protocol';
import type { z } from 'zod';
import type { Database } from './database.js';
import type { Principal } from './principal.js';

/** What a handler is given: each part as its schema has made it. */
export interface Given<Params, Query, Headers, Body> {
  readonly params: Params;
  readonly query: Query;
  /** By the names of the schema; whoever asks may write them in any case. */
  readonly headers: Headers;
  readonly body: Body;
  /** The path as it was asked, without the query. */
  readonly path: string;
  readonly principal: Principal;
  /** What the principal may see and do, and no more. */
  readonly database: Database;
  /** The same for what may read a whole history, a few at a time. */
  readonly searching: Database;
}

export interface Answer {
  readonly status: number;
  /** Made into JSON; no body without it. */
  readonly body?: unknown;
  /** Who has this very answer (If-None-Match) is told 304 instead. */
  readonly etag?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface DocumentedAnswer {
  readonly description: string;
  readonly body?: z.ZodType;
  readonly headers?: z.ZodObject;
}

/** What a route is to the document: everything but what it does. */
interface Description {
  readonly method: 'get' | 'post' | 'patch';
  /** Below `/api`, with parameters as `:name`. */
  readonly path: `/${string}`;
  /** The name of the operation for generated clients. */
  readonly id: string;
  /** One of the tags of its `Api`. */
  readonly tag: string;
  readonly summary: string;
  /** Markdown. */
  readonly description?: string;
  readonly params?: z.ZodObject;
  /** A strict object: a misspelt name would be a wish that nobody hears. */
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly body?: z.ZodType;
  readonly bodyExamples?: Readonly<Record<string, unknown>>;
  readonly answers: Readonly<Record<number, DocumentedAnswer>>;
  /** Codes besides those that every route may answer with. */
  readonly refusals: readonly AnyErrorCode[];
}

/** One operation of the API, declared once: it is served, and it is in the OpenAPI document. */
export interface Route extends Description {
  // Each route has checked its own parts by the schemas above.
  readonly handle: (given: Given<unknown, unknown, unknown, unknown>) => Promise<Answer>;
}

type Declaration<P, Q, H, B> = Omit<Description, 'params' | 'query' | 'headers' | 'body'> & {
  readonly params?: P;
  readonly query?: Q;
  readonly headers?: H;
  readonly body?: B;
  handle(given: Given<z.output<P>, z.output<Q>, z.output<H>, z.output<B>>): Promise<Answer>;
};

/** Declares a route; the handler is given what the schemas promise. */
export function route<P extends z.ZodObject, Q extends z.ZodObject, H extends z.ZodObject, B extends z.ZodType>(
  declaration: Declaration<P, Q, H, B>,
): Route {
  return declaration as unknown as Route;
}

/** A part of the HTTP API under `/api`, served and documented with the others. */
export interface Api {
  /** What it is for, in Markdown: a paragraph of the document. */
  readonly about: string;
  /** The groups of the documentation with what they are about, in its order. */
  readonly tags: Readonly<Record<string, string>>;
  readonly routes: readonly Route[];
}
