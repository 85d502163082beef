import type { ExtensionContext } from '../../ports/extension.js';
import type { Route } from '../../ports/route.js';
import { controlRoutes } from './control.js';
import { readRoutes } from './reads.js';
import { scheduleRoutes } from './schedules.js';
import { workerRoutes } from './workers.js';

/** Returns all routes of the engine. */
export function engineApi(context: Pick<ExtensionContext, 'onRows' | 'clock'>): Route[] {
  return [...controlRoutes(), ...readRoutes(), ...scheduleRoutes(), ...workerRoutes(context)];
}
