import { durableStreams } from './durable-streams/extension.js';
import { executions } from './executions/extension.js';
import type { Extension } from './ports/extension.js';

/** What a gateway serves besides channels, made anew for each gateway. */
export function makeExtensions(): Extension[] {
  return [executions(), durableStreams()];
}
