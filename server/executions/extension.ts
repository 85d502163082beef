import type { Use } from '../ports/database.js';
import type { Extension } from '../ports/extension.js';
import { SERVICE } from '../ports/principal.js';
import { executionApi } from './api/routes.js';
import { Progresses } from './reads/progress.js';
import { ofExecutions } from './schema.js';
import { Alerts } from './service/alerts.js';
import { HealthTicker } from './service/health-ticker.js';
import { Webhook } from './service/webhook.js';

const ABOUT = `Reads and writes agent executions over HTTP. Live events arrive over WebSocket, SSE or polls: subscribe to
\`execution:<execution_id>\` with \`since=<position>\`, where \`position\` comes from a response. The events continue the
response without a gap.`;

const TAGS = {
  Executions: 'Agent executions: one, or many at once.',
  Logs: 'The logs of executions.',
  Progress: 'Status, steps and metrics, for frequent polling.',
};

/** The extension for agent executions: their part of the HTTP API, their health, and alerts. `schema` is that of their tables, as SQL writes its name. */
export function executions(schema: string): Extension {
  const progresses = new Progresses();
  let ticker: HealthTicker | undefined;
  return {
    name: 'executions',
    exposedHeaders: ['Idempotent-Replayed'],
    api({ access, databaseFor, bounds }) {
      const serviceFor = (use: Use) => databaseFor({ principal: SERVICE, requestId: 'status', use, gone: () => false });
      const databases = { serviceDatabase: serviceFor('short'), foldingDatabase: serviceFor('read') };
      return {
        about: ABOUT,
        tags: TAGS,
        routes: executionApi({ schema, progresses, access, bounds, ...databases }),
      };
    },
    start({ databaseFor, alerts: { alertUrl: url, alertSecret: secret }, logger }) {
      const service = databaseFor({ principal: SERVICE, requestId: 'health', use: 'write', gone: () => false });
      const database = ofExecutions(service, schema);
      const webhook = url === undefined || secret === undefined ? null : new Webhook({ url, secret });
      const alerts = webhook === null ? null : new Alerts({ database, webhook, logger });
      ticker = new HealthTicker({ database, progresses, alerts, logger });
      ticker.start();
    },
    async stop() {
      await ticker?.stop();
    },
  };
}
