'use client';
import { type CSSProperties, type KeyboardEvent, type ReactElement, useId } from 'react';
import type { Speed } from '../../store/index.js';
import { classes, whole } from './format.js';
import { Icon } from './icon.js';
import { Time } from './time.js';

const SPEEDS: readonly Speed[] = [1, 2, 4, 8, 16];

/** Events that PageUp and PageDown move by, as a part of all. */
const PAGE = 20;

export interface ScrubberMark {
  readonly seq: number;
  readonly kind: 'error' | 'stage';
}

export interface ScrubberProps {
  /** The newest event, and the one that is shown. */
  readonly head: number;
  readonly seq: number;
  /** The time of that event, in milliseconds since 1970. */
  readonly at?: number | null | undefined;
  /** Whether it follows the newest. */
  readonly edge: boolean;
  readonly marks?: readonly ScrubberMark[] | undefined;
  readonly playing: boolean;
  readonly speed: Speed;
  readonly onSeek: (seq: number) => void;
  readonly onPlay: (speed?: Speed) => void;
  readonly onPause: () => void;
  readonly onLive: () => void;
  readonly disabled?: boolean | undefined;
  readonly className?: string | undefined;
}

/** Rewinds an execution to any of its events, plays it from there, and returns to the newest. */
export function Scrubber(props: ScrubberProps): ReactElement {
  const { head, seq, at = null, edge, marks = [], playing, speed, disabled = false, className } = props;
  const { onSeek, onPlay, onPause, onLive } = props;
  const id = useId();
  const toggle = () => (playing ? onPause() : onPlay());
  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.round(head / PAGE));
    const by = event.key === 'PageUp' ? page : event.key === 'PageDown' ? -page : 0;
    if (event.key !== ' ' && by === 0) return;
    event.preventDefault();
    if (by === 0) toggle();
    else onSeek(Math.min(head, Math.max(1, seq + by)));
  };
  return (
    <div className={classes('rc-scrubber', className)} data-state={edge ? 'live' : playing ? 'playing' : 'past'}>
      <button
        type="button"
        className="rc-button rc-button--icon"
        disabled={disabled || seq <= 1}
        aria-label="One event back"
        onClick={() => onSeek(seq - 1)}
      >
        <Icon name="back" />
      </button>
      <button
        type="button"
        className="rc-button rc-button--icon"
        disabled={disabled}
        aria-label={playing ? 'Pause' : 'Play'}
        onClick={toggle}
      >
        <Icon name={playing ? 'paused' : 'play'} />
      </button>
      <button
        type="button"
        className="rc-button rc-button--icon"
        disabled={disabled || seq >= head}
        aria-label="One event on"
        onClick={() => onSeek(seq + 1)}
      >
        <Icon name="next" />
      </button>
      <label className="rc-hidden" htmlFor={`${id}-speed`}>
        Speed
      </label>
      <select
        id={`${id}-speed`}
        className="rc-select"
        value={speed}
        disabled={disabled}
        onChange={({ target }) => onPlay(Number(target.value) as Speed)}
      >
        {SPEEDS.map((each) => (
          <option key={each} value={each}>
            {each}×
          </option>
        ))}
      </select>
      <div className="rc-scrubber__track">
        <div className="rc-scrubber__marks" aria-hidden="true">
          {marks.map((mark) => (
            <span
              key={`${mark.kind} ${mark.seq}`}
              className="rc-scrubber__mark"
              data-kind={mark.kind}
              style={{ '--at': mark.seq / Math.max(1, head) } as CSSProperties}
            />
          ))}
        </div>
        <input
          className="rc-scrubber__range"
          type="range"
          aria-label="Event"
          aria-valuetext={`event ${seq} of ${head}`}
          min={Math.min(1, head)}
          max={head}
          value={Math.min(seq, head)}
          disabled={disabled || head === 0}
          onChange={({ target }) => onSeek(Number(target.value))}
          onKeyDown={onKeyDown}
        />
      </div>
      <span className="rc-scrubber__place">
        {whole(seq)} of {whole(head)}
        {at !== null && (
          <span className="rc-scrubber__time">
            {' · '}
            <Time at={at} precise />
          </span>
        )}
      </span>
      <button
        type="button"
        className="rc-button rc-scrubber__live"
        aria-pressed={edge}
        disabled={disabled}
        onClick={onLive}
      >
        Live
      </button>
    </div>
  );
}
