'use client';
/**
 * Which rows of a long list are visible. Rows have one height, so that it is arithmetic: no row is measured, and a list of a
 * million rows has a scrollbar that is exact.
 */
import { type RefObject, useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react';

/** The height up to which every browser lays out an element, in pixels. A longer list is scrolled in larger steps. */
const MAX_HEIGHT = 15_000_000;

/** Rows that are drawn above and below the visible ones. */
const MARGIN = 6;

export interface Viewport {
  /** The rows to draw: from one index to another, the last excluded. */
  readonly from: number;
  readonly to: number;
  /** The height of the list, and where the first drawn row is, in pixels. */
  readonly height: number;
  readonly offset: number;
  /** Scrolls a row into the middle; only as far as needed with `nearest`. */
  scrollTo(index: number, block?: 'center' | 'nearest'): void;
  scrollToEnd(): void;
  readonly onScroll: () => void;
}

/**
 * `length` rows of `rowHeight` pixels in a scrolling element. With `follow` it is scrolled to its end: what is visible follows from
 * the length then, and a new row renders once.
 */
export function useViewport(
  ref: RefObject<HTMLElement | null>,
  length: number,
  rowHeight: number,
  follow: boolean,
): Viewport {
  const [view, setView] = useState({ top: 0, size: 0 });
  const measured = useRef(view); // setting an equal state renders once more
  const measure = useCallback(() => {
    const element = ref.current;
    if (element === null) return;
    const { scrollTop: top, clientHeight: size } = element;
    const { current } = measured;
    if (current.size === size && (follow || current.top === top)) return;
    measured.current = { top, size };
    setView(measured.current);
  }, [ref, follow]);
  useLayoutEffect(measure);
  useEffect(() => {
    if (ref.current === null) return;
    const observer = new ResizeObserver(measure);
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [ref, measure]);

  const full = length * rowHeight;
  const height = Math.min(full, MAX_HEIGHT);
  const fits = view.size / rowHeight;
  // Where the list is shorter than its rows, a pixel of the scrollbar is more than one pixel of the rows.
  const scale = height <= view.size ? 1 : (full - view.size) / (height - view.size);
  const scrolled = follow ? Math.max(0, height - view.size) : view.top;
  const top = scrolled * scale;
  const first = Math.max(0, Math.floor(top / rowHeight) - MARGIN);
  const scrollTo = (index: number, block: 'center' | 'nearest' = 'center') => {
    const element = ref.current;
    if (element === null) return;
    const { scrollTop, clientHeight: size } = element; // what was measured last may be old
    const top = scrollTop * scale;
    const [low, high] = [index * rowHeight, (index + 1) * rowHeight];
    if (block === 'nearest' && low >= top && high <= top + size) return;
    const wanted = block === 'center' ? (low + high - size) / 2 : low < top ? low : high - size;
    element.scrollTop = Math.max(0, wanted) / scale;
    measure();
  };
  return {
    from: first,
    to: Math.min(length, Math.ceil(top / rowHeight + fits) + MARGIN),
    height,
    offset: scrolled - (top - first * rowHeight),
    scrollTo,
    scrollToEnd: () => {
      if (ref.current !== null) ref.current.scrollTop = ref.current.scrollHeight;
      measure();
    },
    onScroll: measure,
  };
}
