import { RowcastProvider, useProgressTracking } from '@rowcast/client/react';
import { createRoot } from 'react-dom/client';

function Execution({ id }: { id: string }) {
  const { status, data } = useProgressTracking(id);
  if (data === undefined) return status;
  const { percent, stage, steps } = data.progress;
  return `${status}: ${percent} %, ${stage?.name ?? 'no stage'}, ${steps.done} of ${steps.total ?? '?'} steps`;
}

const parameters = new URLSearchParams(location.search);
const url = parameters.get('gateway') ?? 'http://127.0.0.1:4400';
const execution = <Execution id={parameters.get('execution') ?? ''} />;
createRoot(document.querySelector('main') as Element).render(<RowcastProvider url={url}>{execution}</RowcastProvider>);
