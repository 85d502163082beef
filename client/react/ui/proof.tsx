'use client';
/**
 * Shows that nothing is missing. It counts what has arrived by the numbers of the events, from the newest ones at the opening of
 * the page on, and keeps it as a recorded history, which `rowcast verify` compares with the table.
 */
import { type ReactElement, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type { Row } from '../../protocol/index.js';
import type { StreamEvent } from '../../subscription/subscription.js';
import { useWebSocketConnection } from '../connection.js';
import { useRowcast } from '../provider.js';
import { classes, duration, whole } from './format.js';
import { Icon } from './icon.js';

/** It begins with the newest events: those that the log has as well, so that they are sent once. */
const SINCE = '-1000';

/** Lines that a history keeps. Beyond it the rows of older events are left out, and only their numbers kept. */
const MAX_ROWS = 20_000;

/** How often the strip is drawn anew, in milliseconds, and how long the plug is pulled. */
const REDRAW = 250;
const UNPLUGGED = 5_000;

interface Received {
  readonly first: number;
  readonly last: number;
  readonly events: number;
  readonly missing: number;
  readonly twice: number;
}

const NOTHING: Received = { first: 0, last: 0, events: 0, missing: 0, twice: 0 };

/** What arrived on one channel, in order. */
class Evidence {
  readonly #client = `page ${crypto.randomUUID()}`;
  readonly #channel: string;
  readonly #lines: { at: number; position: string; row: Row | undefined }[] = [];
  readonly #readers = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #received = NOTHING;
  #epoch = '';

  constructor(channel: string) {
    this.#channel = channel;
  }

  add({ seq, position, row }: StreamEvent<Row>): void {
    const { first, last, events, missing, twice } = this.#received;
    const epoch = position.slice(0, position.indexOf('.'));
    const begins = events === 0 || epoch !== this.#epoch; // another numbering begins anew
    this.#epoch = epoch;
    this.#received = begins
      ? { ...NOTHING, first: seq, last: seq, events: 1 }
      : {
          first,
          last: Math.max(last, seq),
          events: events + 1,
          missing: missing + Math.max(0, seq - last - 1),
          twice: twice + (seq <= last ? 1 : 0),
        };
    this.#lines.push({ at: Date.now(), position, row });
    const old = this.#lines[this.#lines.length - MAX_ROWS - 1];
    if (old !== undefined) old.row = undefined;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      for (const tell of this.#readers) tell();
    }, REDRAW);
  }

  readonly subscribe = (tell: () => void) => {
    this.#readers.add(tell);
    return () => this.#readers.delete(tell);
  };

  readonly get = () => this.#received;

  /** When the last event arrived, in milliseconds since 1970; 0 before the first. */
  get lastAt(): number {
    return this.#lines.at(-1)?.at ?? 0;
  }

  /** The recorded history, as docs/reference/history.md describes it. */
  history(): Blob {
    const { at = Date.now(), position = '' } = this.#lines[0] ?? {};
    const [epoch = '', seq = '1'] = position.split('.');
    const common = { client: this.#client, channel: this.#channel };
    const text = [
      { at, ...common, type: 'begin', since: `${epoch}.${Number(seq) - 1}` },
      ...this.#lines.map(({ at, position, row }) => ({
        at,
        ...common,
        type: 'event',
        position,
        ...(row !== undefined && { row }),
      })),
      { at: Date.now(), ...common, type: 'end', position: this.#lines.at(-1)?.position },
    ];
    return new Blob(
      text.map((line) => `${JSON.stringify(line)}\n`),
      { type: 'application/jsonl' },
    );
  }
}

export interface ProofStripProps {
  readonly channel: string;
  readonly className?: string | undefined;
}

/** What has arrived on a channel, a way to interrupt the connection, and the recorded history. */
export function ProofStrip({ channel, className }: ProofStripProps): ReactElement {
  const store = useRowcast();
  const { only, transports, state } = useWebSocketConnection();
  const evidence = useMemo(() => new Evidence(channel), [channel]);
  useEffect(() => store.listen<Row>(channel, (event) => evidence.add(event), SINCE), [store, channel, evidence]);
  const { first, last, events, missing, twice } = useSyncExternalStore(evidence.subscribe, evidence.get, evidence.get);
  const [unplugged, setUnplugged] = useState(false);
  const [caughtUp, setCaughtUp] = useState<string | null>(null);
  const ends = useRef<(() => void)[]>([]);
  useEffect(
    () => () => {
      for (const end of ends.current) end();
    },
    [],
  );
  const pull = () => {
    const before = evidence.get().events;
    setUnplugged(true);
    setCaughtUp(null);
    only([]);
    const plugIn = () => {
      const begun = Date.now();
      only(transports ?? undefined);
      setUnplugged(false);
      const end = store.connection.subscribe(() => {
        if (store.connection.get().state !== 'connected') return;
        end();
        const connected = Date.now();
        setTimeout(() => {
          const more = evidence.get().events - before;
          const took = Math.max(connected, evidence.lastAt) - begun;
          setCaughtUp(`caught up ${whole(more)} events in ${duration(took)}`);
        }, REDRAW);
      });
    };
    const timer = setTimeout(() => {
      ends.current = [];
      plugIn();
    }, UNPLUGGED);
    ends.current = [() => clearTimeout(timer), () => only(transports ?? undefined)]; // also where the strip is taken away
  };
  const download = () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(evidence.history());
    link.download = `${channel.replace(/[^\w-]/g, '_')}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  return (
    <section
      className={classes('rc-proof', className)}
      data-state={missing + twice > 0 ? 'failed' : 'ok'}
      aria-label="Proof"
    >
      <span className="rc-proof__text">
        <Icon name={missing + twice > 0 ? 'failed' : 'completed'} />
        {events === 0 ? (
          'no event has arrived yet'
        ) : (
          <>
            <strong>
              {whole(first)}–{whole(last)}
            </strong>{' '}
            received · <strong>{whole(missing)}</strong> missing · <strong>{whole(twice)}</strong> twice
          </>
        )}
        {caughtUp !== null && <span className="rc-proof__caught"> · {caughtUp}</span>}
      </span>
      <button
        type="button"
        className="rc-button rc-button--small"
        disabled={unplugged || state !== 'connected'}
        onClick={pull}
      >
        <Icon name="plug" />
        {unplugged ? 'Unplugged…' : 'Pull the plug for 5 s'}
      </button>
      <button type="button" className="rc-button rc-button--small" disabled={events === 0} onClick={download}>
        <Icon name="down" />
        Download for rowcast verify
      </button>
    </section>
  );
}
