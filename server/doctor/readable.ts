import { z } from 'zod';
import { numbersStatement, sampleStatement } from '../postgres/statements.js';
import { codeOf } from '../postgres/stream-health.js';
import { STREAMS, type Stream, streamRow } from '../postgres/streams.js';
import { type Check, fault, type Outcome, ok, type Probe, warning } from './check.js';

/** Events of each stream that are encoded, the newest. */
const SAMPLE = 50;

const sampled = z.object({ key: z.string(), seq: z.number(), bytes: z.number().nullable() });

/** What a gateway meets when it reads the streams: why one of them is left out, or an event of it. */
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
  const apart = 'its readers wait, the other streams go on';
  if (problem !== null) {
    // The check of the streams says it, with more about the rights.
    if (/^permission denied|^the key column \S+ is gone/.test(problem)) return [];
    const fix = `Give ${relation} back the columns that it was attached with, or detach it: SELECT rowcast.detach('${name}');`;
    return [fault(`${name}: ${problem}; ${apart}`, fix)];
  }
  try {
    await probe.readAsGateway(z.object({}), numbersStatement(stream));
  } catch (error) {
    return [fault(`${name}: ${(error as Error).message}; ${apart}`, mendOf(error, relation))];
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
      return [warning(`${found}; its readers are told, and go on behind it`, mendOf(wrong, relation))];
    }
    return [];
  }
}

function mendOf(error: unknown, relation: string): string {
  switch (codeOf(error)) {
    case '55P03':
    case '57014':
      return `Look for what locks ${relation}, or for a policy or a computed column that is slow.`;
    case '42501':
      return `GRANT SELECT ON ${relation} TO rowcast_gateway; and EXECUTE on the functions that its policies and columns use.`;
    case '42704':
      return `A restrictive policy on ${relation} holds for rowcast_gateway too: name the roles it is meant for, ALTER POLICY … TO authenticated;`;
    default:
      return `Correct the row, or the computed column, cast or policy of ${relation} that fails.`;
  }
}
