/**
 * The seam between the gateway and the applications that live in its process. An extension knows the ports; the gateway
 * knows no extension, and serves those in a list that it is given.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import type { Config } from '../settings/config.js';
import type { Clock } from './clock.js';
import type { DatabaseFor } from './database.js';
import type { Door, InProcess } from './door.js';
import type { PrincipalOf, Rights } from './principal.js';
import type { Api } from './route.js';

/** Answers requests and passes on the others: an Express router or middleware. */
export type Handler = {
  // As a method, whose parameters are compared both ways: Express gives its handlers more than Node's request.
  handle(request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void): void;
}['handle'];

/** What an extension may use of its gateway. */
export interface ExtensionContext {
  /** Event streams and polls, as connections like all others. */
  readonly door: Door;
  /** Subscriptions of this process. */
  readonly inProcess: InProcess;
  readonly access: Rights;
  readonly databaseFor: DatabaseFor;
  readonly principalOf: PrincipalOf;
  /** What every request of `routes` has to pass first: the rate of its address. `api` has it already. */
  readonly limit: Handler;
  /** Whether a cache that serves many principals may keep pages of history. */
  readonly cache: Config['cache'];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface Extension {
  readonly name: string;
  /** Headers of its answers that a page of another origin may read. */
  readonly exposedHeaders?: readonly string[];
  /** Its part of the HTTP API; called once, before the gateway listens. */
  api?(context: ExtensionContext): Api;
  /** What it serves outside `/api`; called once, before the gateway listens. */
  routes?(context: ExtensionContext): readonly Handler[];
  /** The database is connected, and the gateway does not listen yet. If it rejects, the gateway does not start. */
  start?(context: ExtensionContext): Promise<void> | void;
  /** All clients have been sent away, and the database is still connected. Also called where `start` was not. */
  stop?(): Promise<void> | void;
}
