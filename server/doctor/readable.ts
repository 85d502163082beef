import { z } from 'zod';
import { numbersStatement, sampleStatement } from '../postgres/statements.js';
import { codeOf } from '../postgres/stream-health.js';
import { STREAMS, type Stream, streamRow } from '../postgres/streams.js';
import { type Check, fault, type Outcome, ok, type Probe, warning } from './check.js';

/** The number of the newest events of each stream that are encoded. */
const SAMPLE = 50;

const sampled = z.object({ key: z.string(), seq: z.number(), bytes: z.number().nullable() });

/** Reads the streams as a gateway does, and reports those that cannot be read, or events that cannot be encoded. */
export const readable: Check = {
  name: 'readable',
  async run(probe) {
    const streams = await probe.readAsGateway(streamRow, STREAMS);
    const outcomes: Outcome[] = [];
    for (const stream of streams) outcomes.push(...(await look(probe, stream)));
    return outcomes.length === 0 ? ok(`${streams.length} streams, and their newest events`) : outcomes;
  },
};

async function look(probe: Probe, stream: Stream): Promise<Outcome[]> {
  const { name, relation, problem } = stream;
  const apart = 'its readers wait, the other streams continue';
  if (problem !== null) {
    // The check `streams` reports these, with the fix.
    if (/^permission denied|^the (key )?column .+ does not exist/.test(problem)) return [];
    const fix = `Restore the columns that ${relation} was attached with, or detach it: SELECT rowcast.detach('${name}');`;
    return [fault(`${name}: ${problem}; ${apart}`, fix)];
  }
  try {
    await probe.readAsGateway(z.object({}), numbersStatement(stream));
  } catch (error) {
    return [fault(`${name}: ${(error as Error).message}; ${apart}`, fixFor(error, relation))];
  }
  try {
    await probe.readAsGateway(sampled, sampleStatement(stream, SAMPLE, 0));
    return [];
  } catch {
    for (let row = 0; row < SAMPLE; row += 1) {
      const wrong = await probe.readAsGateway(sampled, sampleStatement(stream, 1, row)).then(
        () => null,
        (error: Error) => error,
      );
      if (wrong === null) continue;
      const [at] = await probe.readAsGateway(sampled.omit({ bytes: true }), numbersStatement(stream, row));
      const found = `${name}: event ${at?.seq} of the key ${at?.key} cannot be encoded: ${wrong.message}`;
      return [warning(`${found}; its readers get a reset and continue after it`, fixFor(wrong, relation))];
    }
    return [];
  }
}

function fixFor(error: unknown, relation: string): string {
  switch (codeOf(error)) {
    case '55P03':
    case '57014':
      return `Find the session that locks ${relation}, or a policy or generated column that is slow.`;
    case '42501':
      return `GRANT SELECT ON ${relation} TO rowcast_gateway; and EXECUTE on the functions that its policies and columns use.`;
    case '42704':
      return `A restrictive policy on ${relation} also applies to rowcast_gateway: name the roles it is meant for, ALTER POLICY … TO authenticated;`;
    default:
      return `Correct the row, or the generated column, cast or policy of ${relation} that fails.`;
  }
}
