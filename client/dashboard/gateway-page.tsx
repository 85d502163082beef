/** How the gateway does, summed over its workers; and how this page is connected to it. */
import { type ReactElement, type ReactNode, useEffect, useRef, useState } from 'react';
import { useRowcast, useWebSocketConnection } from '../react/index.js';
import { duration, measured, whole } from '../react/ui/format.js';
import { ConnectionStatus, LatencyPanel, PollingPanel, Time, TransportSwitch } from '../react/ui/index.js';
import { askJson, askText } from './access.js';
import { parseMetrics, quantileOf, type Samples } from './prometheus.js';
import { Sparkline } from './sparkline.js';
import { useAsked } from './use-asked.js';
import { useVenture } from './venture.js';

/** How often the metrics are read, in milliseconds, and for how many readings the rate is kept. */
const EVERY = 2_000;
const KEPT = 60;

/** Values that need attention. */
const LAG = 1;

interface Ready {
  readonly status: string;
  readonly checks: Readonly<Record<string, boolean>>;
  readonly streams: Readonly<Record<string, unknown>>;
}

export function GatewayPage({ query }: { readonly query: URLSearchParams }): ReactElement {
  const [paused, setPaused] = useState(false);
  const every = paused ? null : EVERY;
  const metrics = useAsked('metrics', async (signal) => parseMetrics(await askText('/metrics', signal)), every);
  // A gateway that is not ready says so with 503 and the same body.
  const ready = useAsked<Ready>('ready', async (signal) => JSON.parse(await askText('/readyz', signal)), every);
  const rates = useRates(metrics.data, metrics.at);
  useEffect(() => {
    document.title = 'Gateway · Rowcast';
  }, []);
  useEvents(useVenture(query)[0]);
  const stale = metrics.error !== null;
  return (
    <section className="page" data-state={stale ? 'stale' : 'live'}>
      <header className="page__header">
        <h1 className="page__title">Gateway</h1>
        <span className="page__aside">
          {metrics.at === null ? (
            'reading…'
          ) : (
            <>
              as of <Time at={metrics.at} />
            </>
          )}
          {stale && ` · ${metrics.error?.message}`}
        </span>
        <button type="button" className="rc-button rc-button--small" onClick={() => setPaused(!paused)}>
          {paused ? 'Resume' : 'Pause'}
        </button>
      </header>
      <Checks ready={ready.data} />
      <div className="cards">{metrics.data !== undefined && <Figures samples={metrics.data} rates={rates} />}</div>
      <div className="cards cards--wide">
        <Card title="From the INSERT to this screen">
          <LatencyPanel />
        </Card>
        <Card title="My connection">
          <MyConnection />
        </Card>
        <Card title="Polling">
          <PollingPanel />
        </Card>
      </div>
    </section>
  );
}

interface Running {
  readonly executions: readonly { readonly execution_id: string }[];
}

/** Reads what happens in a venture: a page that reads nothing has no connection, and no event to measure. */
function useEvents(venture: string): void {
  const store = useRowcast();
  const query = new URLSearchParams({ venture_id: venture, status: 'running', limit: '1' });
  const [changes, setChanges] = useState(0);
  const { data } = useAsked<Running>(`running ${venture} ${changes}`, (signal) =>
    askJson(`/api/agents/executions?${query}`, signal),
  );
  const running = data?.executions[0]?.execution_id;
  useEffect(() => store.listen(`venture:${venture}`, () => setChanges((count) => count + 1)), [store, venture]);
  useEffect(
    () => (running === undefined ? undefined : store.listen(`execution:${running}`, () => {})),
    [store, running],
  );
}

function Card({ title, children }: { readonly title: string; readonly children: ReactNode }): ReactElement {
  return (
    <section className="card">
      <h2 className="card__title">{title}</h2>
      {children}
    </section>
  );
}

function Checks({ ready }: { readonly ready: Ready | undefined }): ReactElement {
  const troubled = Object.keys(ready?.streams ?? {});
  return (
    <ul className="checks" aria-label="Checks">
      {Object.entries(ready?.checks ?? {}).map(([name, ok]) => (
        <li key={name} className="checks__check" data-state={ok ? 'ok' : 'failed'}>
          <span className="checks__dot" aria-hidden="true" />
          {name} <strong>{ok ? 'ready' : 'down'}</strong>
        </li>
      ))}
      {troubled.map((name) => (
        <li key={name} className="checks__check" data-state="failed">
          <span className="checks__dot" aria-hidden="true" />
          stream {name} <strong>cannot be read</strong>
        </li>
      ))}
    </ul>
  );
}

interface Rates {
  readonly sent: readonly number[];
  readonly commits: number | null;
  readonly awake: number | null;
}

/** What counters rose by, per second. */
function useRates(samples: Samples | undefined, at: number | null): Rates {
  const last = useRef<{ at: number; sent: number; commits: number; awake: number } | null>(null);
  const [rates, setRates] = useState<Rates>({ sent: [], commits: null, awake: null });
  useEffect(() => {
    if (samples === undefined || at === null) return;
    const now = {
      at,
      sent: samples.sum('rowcast_events_sent_total'),
      commits: samples.sum('rowcast_commits_total'),
      awake: samples.sum('rowcast_awake_seconds_total'),
    };
    const before = last.current;
    last.current = now;
    if (before === null || now.sent < before.sent || now.at <= before.at) return; // a worker was replaced
    const seconds = (now.at - before.at) / 1000;
    setRates(({ sent }) => ({
      sent: [...sent.slice(1 - KEPT), (now.sent - before.sent) / seconds],
      commits: (now.commits - before.commits) / seconds,
      awake: (now.awake - before.awake) / seconds,
    }));
  }, [samples, at]);
  return rates;
}

const TRANSPORTS = [
  ['websocket', 'WebSocket'],
  ['sse', 'event stream'],
  ['poll', 'poll'],
  ['in_process', 'in process'],
] as const;

const tenths = (value: number) => Math.round(value * 10) / 10;

function Figures({ samples, rates }: { readonly samples: Samples; readonly rates: Rates }): ReactElement {
  const connections = samples.by('rowcast_connections', 'transport');
  const total = samples.sum('rowcast_connections');
  const buckets = samples.by('rowcast_delivery_seconds_bucket', 'le');
  const delivered = (quantile: number) => {
    const value = quantileOf(buckets, quantile);
    if (value === null) return '–';
    return value < 0.01 ? `${measured(tenths(value * 1000))} ms` : duration(value * 1000);
  };
  const stalled = samples.sum('rowcast_stalled_subscriptions');
  const lag = samples.sum('rowcast_tail_lag_seconds');
  return (
    <>
      <Figure title="Connections" value={whole(total)}>
        <ul className="bars">
          {TRANSPORTS.map(([name, label]) => (
            <li key={name} className="bars__row">
              <span>{label}</span>
              <span
                className="bars__bar"
                aria-hidden="true"
                style={{ inlineSize: `${((connections.get(name) ?? 0) / Math.max(1, total)) * 100}%` }}
              />
              <span className="bars__value">{whole(connections.get(name) ?? 0)}</span>
            </li>
          ))}
        </ul>
      </Figure>
      <Figure title="Events sent" value={`${measured(tenths(rates.sent.at(-1) ?? 0))} /s`}>
        <Sparkline values={rates.sent} />
        <p className="figure__note">{whole(samples.sum('rowcast_events_sent_total'))} since the start</p>
      </Figure>
      <Figure title="Delivery in the gateway" value={delivered(0.5)}>
        <p className="figure__note">
          p95 {delivered(0.95)} · p99 {delivered(0.99)}
        </p>
        <p className="figure__note">from the read of the tail to the transport</p>
      </Figure>
      <Figure title="Channels" value={whole(samples.sum('rowcast_channels'))}>
        <p className="figure__note">{whole(samples.sum('rowcast_subscriptions'))} subscriptions</p>
      </Figure>
      <Figure title="Doorbell" value={rates.awake === null ? '–' : rates.awake > 0.05 ? 'awake' : 'asleep'}>
        <p className="figure__note">
          {rates.commits === null ? '' : `${measured(tenths(rates.commits))} transactions with events /s`}
        </p>
        <p className="figure__note">{whole(samples.sum('rowcast_rings_total'))} rings</p>
      </Figure>
      <Figure title="Tail lag" value={duration(lag * 1000)} state={lag > LAG ? 'failed' : 'ok'}>
        <p className="figure__note">since the last read of the table</p>
      </Figure>
      <Figure title="Stalled readers" value={whole(stalled)} state={stalled > 0 ? 'warning' : 'ok'}>
        <p className="figure__note">they get the rest when they read again</p>
      </Figure>
      <Figure title="Memory" value={`${whole(samples.sum('process_resident_memory_bytes') / 2 ** 20)} MiB`}>
        <p className="figure__note">
          {whole(samples.sum('rowcast_cache_bytes') / 2 ** 10)} KiB of it are pages of events
        </p>
      </Figure>
    </>
  );
}

interface FigureProps {
  readonly title: string;
  readonly value: string;
  readonly state?: 'ok' | 'warning' | 'failed';
  readonly children: ReactNode;
}

function Figure({ title, value, state = 'ok', children }: FigureProps): ReactElement {
  return (
    <section className="card figure" data-state={state}>
      <h2 className="figure__title">{title}</h2>
      <p className="figure__value">{value}</p>
      {children}
    </section>
  );
}

function MyConnection(): ReactElement {
  const connection = useWebSocketConnection();
  const { state, transport, only, transports } = connection;
  const [history, setHistory] = useState<readonly { readonly at: number; readonly text: string }[]>([]);
  useEffect(() => {
    const text = state === 'connected' ? `connected by ${transport ?? ''}` : state;
    setHistory((before) => (before.at(-1)?.text === text ? before : [...before.slice(-7), { at: Date.now(), text }]));
  }, [state, transport]);
  return (
    <>
      <div className="connection">
        <ConnectionStatus />
        <TransportSwitch transports={transports} onOnly={only} />
      </div>
      <ol className="connection__history">
        {history.toReversed().map(({ at, text }) => (
          <li key={`${at} ${text}`}>
            <Time at={at} /> {text}
          </li>
        ))}
      </ol>
      <p className="figure__note">
        Whatever the transport, the page goes on at its position: nothing is missing, and nothing comes twice.
      </p>
    </>
  );
}
