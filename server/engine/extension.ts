import type { Extension } from '../ports/extension.js';
import { SERVICE } from '../ports/principal.js';
import { engineApi } from './api/routes.js';
import { Ticker } from './ticker.js';

const ABOUT = `Starts and controls executions that the engine runs, and gives their tasks to workers in any language. They
are the executions of \`/api/agents/executions\`: every transition is an event of \`execution:<execution_id>\`.`;

const TAGS = {
  Engine: 'Start, pause, resume, cancel, retry, fork.',
  Workers: 'Claim tasks, and report how they went.',
};

/** The extension that runs executions: its part of the HTTP API, and the ticker. */
export function engine(): Extension {
  let ticker: Ticker | undefined;
  return {
    name: 'engine',
    api: (context) => ({ about: ABOUT, tags: TAGS, routes: engineApi(context) }),
    start({ databaseFor, logger }) {
      ticker = new Ticker(
        databaseFor({ principal: SERVICE, requestId: 'ticker', use: 'write', gone: () => false }),
        logger,
      );
      ticker.start();
    },
    async stop() {
      await ticker?.stop();
    },
  };
}
