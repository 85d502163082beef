'use client';
import type { ReactElement } from 'react';
import type { Latency } from '../../store/index.js';
import { useLatency } from '../connection.js';
import { classes, duration, whole } from './format.js';

const PARTS = [
  ['written', 'written → read', 'from the INSERT until the gateway had read it'],
  ['read', 'read → sent', 'in the gateway'],
  ['wire', 'sent → arrived', 'on the network'],
  ['paint', 'arrived → painted', 'in this page'],
] as const satisfies readonly (readonly [keyof Latency, string, string])[];

export interface LatencyPanelProps {
  readonly className?: string | undefined;
}

/** The way of an event from the INSERT to the screen, taken apart. */
export function LatencyPanel({ className }: LatencyPanelProps): ReactElement {
  const latency = useLatency();
  if (latency === null) {
    return (
      <p className={classes('rc-panel__note', className)}>
        No event has arrived live yet. Insert a row, and its way is shown here.
      </p>
    );
  }
  const sum = PARTS.reduce((total, [part]) => total + Math.max(0, latency[part].p50), 0) || 1;
  return (
    <section className={classes('rc-latency', className)} aria-label="Latency">
      <p className="rc-latency__total">
        <strong>{duration(latency.total.p50)}</strong> from the INSERT to the screen, in the median of{' '}
        {whole(latency.samples)}
        <span className="rc-latency__rest">
          {' '}
          · p95 {duration(latency.total.p95)} · p99 {duration(latency.total.p99)} · ±{duration(latency.uncertainty)}
        </span>
      </p>
      <div className="rc-latency__bar" aria-hidden="true">
        {PARTS.map(([part]) => (
          <span
            key={part}
            className="rc-latency__part"
            data-part={part}
            style={{ flexGrow: Math.max(0.02, Math.max(0, latency[part].p50) / sum) }}
          />
        ))}
      </div>
      <table className="rc-table rc-latency__table">
        <thead>
          <tr>
            <th scope="col">Part</th>
            <th scope="col">p50</th>
            <th scope="col">p95</th>
            <th scope="col">p99</th>
          </tr>
        </thead>
        <tbody>
          {PARTS.map(([part, name, about]) => (
            <tr key={part}>
              <th scope="row" title={about}>
                <span className="rc-latency__key" data-part={part} aria-hidden="true" />
                {name}
              </th>
              <td>{duration(latency[part].p50)}</td>
              <td>{duration(latency[part].p95)}</td>
              <td>{duration(latency[part].p99)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
