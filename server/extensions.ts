import { durableStreams } from './durable-streams/extension.js';
import { engine } from './engine/extension.js';
import { executions } from './executions/extension.js';
import type { Extension } from './ports/extension.js';
import type { InstalledExtension } from './postgres/extensions.js';

/** Returns the extensions of a gateway: those that are installed in its database, and those without tables. */
export function makeExtensions(installed: readonly Pick<InstalledExtension, 'name' | 'schema'>[]): Extension[] {
  const withTables = installed.flatMap(({ name, schema }) => {
    if (name === 'executions') return [executions(schema)];
    return name === 'engine' ? [engine()] : [];
  });
  return [...withTables, durableStreams()];
}
