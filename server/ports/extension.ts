/**
 * The seam between the gateway and the applications that run in its process. An extension imports the ports. The core
 * imports no extension: it gets a list of them.
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

/** Handles requests and passes the others on: an Express router or middleware. */
export type Handler = {
  // Declared as a method, because TypeScript compares its parameters bivariantly: handlers of Express expect more than Node's request.
  handle(request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void): void;
}['handle'];

/** What an extension may use of its gateway. */
export interface ExtensionContext {
  /** Opens event streams and polls as connections like all others. */
  readonly door: Door;
  /** Subscribes within this process. */
  readonly inProcess: InProcess;
  /** Calls `listener` when rows of a stream have arrived, of any channel. Returns a function that ends that. */
  onRows(stream: string, listener: () => void): () => void;
  readonly access: Rights;
  readonly databaseFor: DatabaseFor;
  readonly principalOf: PrincipalOf;
  /** The rate limit by address, which `routes` must apply. It is already applied to `api`. */
  readonly limit: Handler;
  /** Whether shared caches may store pages of old events. */
  readonly cache: Config['cache'];
  /** Bounds of what the HTTP API takes. */
  readonly bounds: Pick<Config, 'metadataBytes' | 'contextBytes'>;
  /** Where alerts are sent, and what they are signed with. */
  readonly alerts: Pick<Config, 'alertUrl' | 'alertSecret'>;
  /** Where ready tasks are sent. */
  readonly carrierUrl: Config['carrierUrl'];
  /** How long executions are kept after their end. Undefined: for ever. */
  readonly executionDays: Config['executionDays'];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface Extension {
  readonly name: string;
  /** Response headers that a page of another origin may read. */
  readonly exposedHeaders?: readonly string[];
  /** Returns its part of the HTTP API. Called once, before the gateway listens. */
  api?(context: ExtensionContext): Api;
  /** Returns its handlers outside `/api`. Called once, before the gateway listens. */
  routes?(context: ExtensionContext): readonly Handler[];
  /** Called when the database is connected, before the gateway listens. If it rejects, the gateway does not start. */
  start?(context: ExtensionContext): Promise<void> | void;
  /** Called when all connections are closed, while the database is still connected. Also called if `start` was not. */
  stop?(): Promise<void> | void;
}
