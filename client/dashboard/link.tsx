import type { MouseEvent, ReactElement, ReactNode } from 'react';
import { go, urlOf } from './places.js';

interface LinkProps {
  /** A path of the page, such as `/gateway`. */
  readonly to: string;
  readonly className?: string;
  readonly current?: boolean;
  readonly tabIndex?: number;
  readonly children: ReactNode;
}

/** A link within the page. With a modifier key the browser follows it, for example in a new tab. */
export function Link({ to, className, current = false, tabIndex, children }: LinkProps): ReactElement {
  const onClick = (event: MouseEvent) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    event.preventDefault();
    go(to);
  };
  return (
    <a
      href={urlOf(to)}
      className={className}
      onClick={onClick}
      tabIndex={tabIndex}
      {...(current && { 'aria-current': 'page' as const })}
    >
      {children}
    </a>
  );
}
