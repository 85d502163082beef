import type { Extension } from '../ports/extension.js';
import { durableStreamRoutes } from './routes.js';

/** The extension that serves every channel as a stream of the Durable Streams protocol. */
export function durableStreams(): Extension {
  return {
    name: 'durable-streams',
    exposedHeaders: ['Stream-Next-Offset', 'Stream-Cursor', 'Stream-Up-To-Date'],
    routes: (context) => [durableStreamRoutes(context)],
  };
}
