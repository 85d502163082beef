'use client';
import { type ReactElement, useId } from 'react';
import type { Transport } from '../../session/open.js';
import type { ConnectionState } from '../../store/index.js';
import { useNow, useWebSocketConnection } from '../connection.js';
import { classes, duration } from './format.js';

const WAYS: readonly { readonly name: string; readonly transports: readonly Transport[] | undefined }[] = [
  { name: 'Automatic', transports: undefined },
  { name: 'WebSocket', transports: ['websocket'] },
  { name: 'Event stream', transports: ['sse'] },
  { name: 'Polling, on an interval', transports: ['poll'] },
];

export interface ConnectionStatusProps {
  /** The connection; that of the provider by default. */
  readonly value?: ConnectionState | undefined;
  /** Shows a switch that limits the connection to a transport. */
  readonly onOnly?: ((transports?: readonly Transport[]) => void) | undefined;
  readonly className?: string | undefined;
}

/** The state of the connection in a word, its transport, its round trip, and when data last arrived. */
export function ConnectionStatus({ value, onOnly, className }: ConnectionStatusProps): ReactElement {
  const { only, reconnect, ...own } = useWebSocketConnection();
  const state = value ?? own;
  const now = useNow(1_000);
  const word = wordOf(state);
  return (
    <div
      className={classes('rc-connection', className)}
      data-state={state.state === 'connected' ? 'live' : state.state}
    >
      <span className="rc-connection__word">
        <span className="rc-connection__dot" aria-hidden="true" />
        {word}
      </span>
      <span className="rc-connection__detail">{detailOf(state, now)}</span>
      {state.state === 'waiting' && state.transports?.length !== 0 && (
        <button type="button" className="rc-button rc-button--small" onClick={reconnect}>
          Connect now
        </button>
      )}
      {onOnly !== undefined && <TransportSwitch transports={state.transports} onOnly={onOnly} />}
    </div>
  );
}

export interface TransportSwitchProps {
  readonly transports: readonly Transport[] | null;
  readonly onOnly: (transports?: readonly Transport[]) => void;
}

/** Limits the connection to one transport, or gives it all again. */
export function TransportSwitch({ transports, onOnly }: TransportSwitchProps): ReactElement {
  const id = useId();
  const chosen = WAYS.find((way) => String(way.transports ?? null) === String(transports));
  return (
    <span className="rc-switch">
      <label className="rc-hidden" htmlFor={id}>
        Transport
      </label>
      <select
        id={id}
        className="rc-select"
        value={chosen?.name ?? ''}
        onChange={({ target }) => onOnly(WAYS.find(({ name }) => name === target.value)?.transports)}
      >
        {WAYS.map(({ name }) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </span>
  );
}

const WORDS: Readonly<Record<ConnectionState['state'], string>> = {
  idle: 'not connected',
  connecting: 'connecting',
  connected: 'live',
  waiting: 'disconnected',
  closed: 'closed',
};

function wordOf({ state, error, transports }: ConnectionState): string {
  if (transports?.length === 0) return 'unplugged';
  return state === 'closed' && error !== null ? 'refused' : WORDS[state];
}

const TRANSPORTS: Readonly<Record<string, string>> = {
  websocket: 'WebSocket',
  sse: 'event stream',
  poll: 'long poll',
  tabs: 'another tab',
};

function detailOf(
  { state, transport, transports, polling, roundTrip, heardAt, retryAt, error }: ConnectionState,
  now: number,
): string {
  if (state === 'connected') {
    const way = polling === 'interval' ? 'polling' : (TRANSPORTS[transport ?? ''] ?? '');
    const trip = roundTrip === null ? null : duration(roundTrip);
    const heard = heardAt === null || now - heardAt < 1_000 ? null : `heard ${duration(now - heardAt)} ago`;
    return [way, trip, heard].filter(Boolean).join(' · ');
  }
  if (transports?.length === 0) return '';
  const wait = retryAt === null ? null : `next attempt in ${duration(Math.max(0, retryAt - now))}`;
  return [error?.message, wait].filter(Boolean).join(' · ');
}
