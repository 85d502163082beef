import { readExecution } from '@rowcast/client/store';
import { Execution } from './execution';

const url = process.env.ROWCAST_URL ?? 'http://127.0.0.1:4400';

/** The server reads the execution with its position: the page shows it at once, and goes on from there. */
export default async function Page({ searchParams }: { searchParams: Promise<{ id?: string }> }) {
  const { id = '' } = await searchParams;
  const snapshot = await readExecution({ url }, id);
  return <Execution url={url} id={id} initial={snapshot === null ? {} : { executions: { [id]: snapshot } }} />;
}
