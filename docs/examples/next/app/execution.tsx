'use client';
import { RowcastProvider, useProgressTracking } from '@rowcast/client/react';
import type { Initial } from '@rowcast/client/store';

export function Execution({ url, id, initial }: { url: string; id: string; initial: Initial }) {
  return (
    <RowcastProvider url={url} initial={initial}>
      <Progress id={id} />
    </RowcastProvider>
  );
}

function Progress({ id }: { id: string }) {
  const { status, data } = useProgressTracking(id);
  return data === undefined ? <p>{status}</p> : <p>{`${status}: ${data.progress.percent} %`}</p>;
}
