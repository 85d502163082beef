import type { Extension } from '../ports/extension.js';
import { SERVICE } from '../ports/principal.js';
import { executionApi } from './api/routes.js';

const ABOUT = `Reads and writes agent executions over HTTP. Live events come over WebSocket, SSE or polls: take the
\`position\` of an answer and subscribe to \`execution:<execution_id>\` with \`since=<position>\`. What you were given and
what you receive then join without a gap.`;

const TAGS = {
  Executions: 'Agent executions: one, or many at once.',
  Logs: 'What executions have said.',
  Progress: 'How far they are: made for asking often.',
};

/** Agent executions, whose tables are in `schema` (the name as SQL writes it): their part of the HTTP API. */
export function executions(schema: string): Extension {
  return {
    name: 'executions',
    exposedHeaders: ['Idempotent-Replayed'],
    api({ access, databaseFor }) {
      const everything = databaseFor({ principal: SERVICE, requestId: 'status', use: 'read', gone: () => false });
      return { about: ABOUT, tags: TAGS, routes: executionApi({ schema, access, everything }) };
    },
  };
}
