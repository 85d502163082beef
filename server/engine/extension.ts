import type { Extension } from '../ports/extension.js';
import { SERVICE } from '../ports/principal.js';
import { engineApi } from './api/routes.js';
import type { Carrier } from './carrier.js';
import { openCarrier } from './carriers/open.js';
import { Outbox } from './outbox.js';
import { Ticker } from './ticker.js';

const ABOUT = `Starts and controls executions that the engine runs, and gives their tasks to workers in any language. They
are the executions of \`/api/agents/executions\`: every transition is an event of \`execution:<execution_id>\`.`;

const TAGS = {
  Engine: 'Start, pause, resume, cancel, retry, fork.',
  Schedules: 'Executions that are started by the clock.',
  Workers: 'Claim tasks, and report how they went.',
};

/** The extension that runs executions: its part of the HTTP API, the ticker, and the outbox of its carrier. */
export function engine(): Extension {
  let ticker: Ticker | undefined;
  let carrier: Carrier | undefined;
  let outbox: Outbox | undefined;
  return {
    name: 'engine',
    api: (context) => ({ about: ABOUT, tags: TAGS, routes: engineApi(context) }),
    async start({ databaseFor, logger, carrierUrl, executionDays, onRows }) {
      const database = databaseFor({ principal: SERVICE, requestId: 'ticker', use: 'write', gone: () => false });
      if (carrierUrl !== undefined) {
        carrier = await openCarrier(carrierUrl, logger);
        outbox = new Outbox(database, carrier, { gateway: { onRows }, logger });
        outbox.start();
      }
      ticker = new Ticker(database, logger, executionDays);
      ticker.start();
    },
    async stop() {
      await Promise.all([ticker?.stop(), outbox?.stop()]);
      await carrier?.close();
    },
  };
}
