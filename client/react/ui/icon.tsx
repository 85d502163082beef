'use client';
/** The signs of the components: drawn, so that they look the same on every platform. */
import type { ReactElement } from 'react';

const PATHS = {
  running: 'M8 2.5a5.5 5.5 0 1 1-5.5 5.5',
  pending: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z',
  paused: 'M5.5 3.5v9M10.5 3.5v9',
  completed: 'm3 8.5 3.2 3.2L13 4.8',
  failed: 'm4 4 8 8m0-8-8 8',
  cancelled: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM4.2 4.2l7.6 7.6',
  warning: 'M8 2.5 14 13H2L8 2.5ZM8 6.5v3M8 11v.2',
  error: 'M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM8 5v3.4M8 10.8v.2',
  play: 'M5 3.2v9.6l7.5-4.8L5 3.2Z',
  back: 'M10 3.5 5.5 8l4.5 4.5',
  next: 'M6 3.5 10.5 8 6 12.5',
  link: 'M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2-2a2.6 2.6 0 0 0-3.7-3.7l-.7.7M9.2 6.8a2.6 2.6 0 0 0-3.7 0l-2 2a2.6 2.6 0 0 0 3.7 3.7l.7-.7',
  down: 'M8 3v9.5M4 8.8l4 4 4-4',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Zm3.3 7.8 3.2 3.2',
  close: 'm4 4 8 8m0-8-8 8',
  retry: 'M13 8a5 5 0 1 1-1.5-3.6M13 2.5v3h-3',
  plug: 'M6 2.5v3M10 2.5v3M4.5 5.5h7V8a3.5 3.5 0 0 1-7 0V5.5ZM8 11.5v2.5',
} as const;

export type IconName = keyof typeof PATHS;

/** A sign beside a word, which says the same: it is hidden from screen readers. */
export function Icon({ name, className }: { readonly name: IconName; readonly className?: string }): ReactElement {
  return (
    <svg className={className ?? 'rc-icon'} data-icon={name} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path
        d={PATHS[name]}
        fill="none"
        stroke="currentColor"
        strokeWidth="1.7"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
