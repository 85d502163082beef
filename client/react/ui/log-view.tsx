'use client';
/**
 * A whole channel as a list, of which only the visible rows are in the document and in memory. It follows new rows until the
 * reader scrolls, selects or presses a key, and never moves under the reader. It does not speak: a log of ten rows a second
 * would make a screen reader useless.
 */
import {
  type KeyboardEvent,
  type ReactElement,
  type ReactNode,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from 'react';
import type { Row } from '../../protocol/index.js';
import type { LogWindow } from '../../store/index.js';
import type { StreamEvent } from '../../subscription/subscription.js';
import { classes, whole } from './format.js';
import { Icon } from './icon.js';
import { LogDetail } from './log-detail.js';
import { LogRow } from './log-row.js';
import { useViewport } from './viewport.js';

export interface LogViewProps {
  readonly log: LogWindow;
  /** What the list is called for screen readers. */
  readonly label: string;
  /** Whether it stays at the newest row; kept by the component if it is not given. */
  readonly follow?: boolean | undefined;
  readonly onFollow?: ((follow: boolean) => void) | undefined;
  /** The seq of the marked row. */
  readonly at?: number | null | undefined;
  readonly onAt?: ((seq: number | null) => void) | undefined;
  /** The seq of the moment that is shown: the list is scrolled to it, and rows after it are shown as later ones. */
  readonly until?: number | undefined;
  /** Pixels: 26. */
  readonly rowHeight?: number | undefined;
  /** Characters of a message in a row: 2,000. All of it is in the details. */
  readonly maxChars?: number | undefined;
  /** What a row shows. */
  readonly renderRow?: ((event: StreamEvent<Row>) => ReactNode) | undefined;
  /** Above the rows, for example filters. */
  readonly children?: ReactNode;
  readonly className?: string | undefined;
}

const KEYS: Readonly<Record<string, (index: number, page: number, last: number) => number>> = {
  ArrowDown: (index) => index + 1,
  ArrowUp: (index) => index - 1,
  PageDown: (index, page) => index + page,
  PageUp: (index, page) => index - page,
  Home: () => 0,
  End: (_index, _page, last) => last,
};

export function LogView(props: LogViewProps): ReactElement {
  const {
    log,
    label,
    at = null,
    onAt,
    rowHeight = 26,
    maxChars = 2_000,
    until,
    renderRow,
    children,
    className,
  } = props;
  const [followed, setFollowed] = useState(true);
  const follow = until === undefined && (props.follow ?? followed);
  const setFollow = (value: boolean) => {
    if (value === follow) return;
    setFollowed(value);
    setSeen(log.length);
    props.onFollow?.(value);
  };
  const [open, setOpen] = useState(false);
  const [seen, setSeen] = useState(log.length);
  const scroller = useRef<HTMLDivElement>(null);
  const view = useViewport(scroller, log.length, rowHeight, follow);
  const name = useId();
  const { from, to } = view;

  useEffect(() => log.show(from, to), [log, from, to]);
  useLayoutEffect(() => {
    if (follow && log.length > 0) view.scrollToEnd();
  }, [follow, log.length, view.scrollToEnd]);
  // To a moment: once, so that the reader may look around from there.
  const moment = useRef<number | undefined>(undefined);
  useLayoutEffect(() => {
    if (until === moment.current || log.length === 0) return;
    moment.current = until;
    if (until !== undefined) view.scrollTo(Math.min(log.indexOf(until), log.length - 1), 'nearest');
  }, [until, log.length, log.indexOf, view.scrollTo]);
  // A link to a row: once, when it is known where the row is.
  const shown = useRef<number | null>(null);
  useLayoutEffect(() => {
    if (at === null || at === shown.current || log.length === 0) return;
    shown.current = at;
    if (!follow) view.scrollTo(log.indexOf(at), 'nearest');
  }, [at, log.length, follow, view.scrollTo, log.indexOf]);

  const index = at === null ? log.length - 1 : log.indexOf(at);
  const mark = (wanted: number) => {
    const next = Math.min(Math.max(0, wanted), log.length - 1);
    const seq = log.seqAt(next);
    if (seq === undefined) return;
    shown.current = seq;
    onAt?.(seq);
    view.scrollTo(next, 'nearest');
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const move = KEYS[event.key];
    if (move !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      setFollow(event.key === 'End');
      mark(move(index, Math.max(1, to - from - 14), log.length - 1));
    } else if (event.key === 'Enter') {
      event.preventDefault();
      if (at === null) mark(index);
      setOpen(!open);
    } else if (event.key === 'Escape' && open) {
      event.stopPropagation();
      setOpen(false);
    }
  };
  const rows: ReactElement[] = [];
  for (let row = from; row < to; row += 1) {
    const seq = log.seqAt(row);
    rows.push(
      <LogRow
        key={seq ?? `row ${row}`}
        id={`${name}-${seq ?? ''}`}
        index={row}
        seq={seq}
        event={log.at(row)}
        marked={seq !== undefined && seq === at}
        later={seq !== undefined && until !== undefined && seq > until}
        height={rowHeight}
        maxChars={maxChars}
        renderRow={renderRow}
        onMark={() => {
          setFollow(false);
          setOpen(at !== seq || !open);
          mark(row);
        }}
      />,
    );
  }
  const fresh = Math.max(0, log.length - seen);
  const marked = at === null ? undefined : log.at(log.indexOf(at));
  return (
    <div className={classes('rc-log', className)} data-state={log.status} data-follow={follow}>
      {children}
      <div className="rc-log__body">
        <div
          ref={scroller}
          className="rc-log__scroller"
          role="grid"
          tabIndex={0}
          aria-label={label}
          aria-rowcount={log.length}
          aria-readonly="true"
          {...(at !== null &&
            log.indexOf(at) >= from &&
            log.indexOf(at) < to && { 'aria-activedescendant': `${name}-${at}` })}
          onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
            view.onScroll();
            if (scrollTop + clientHeight < scrollHeight - rowHeight) setFollow(false); // the reader has scrolled
          }}
          onKeyDown={onKeyDown}
          onWheel={({ deltaY }) => deltaY < 0 && setFollow(false)}
          onTouchMove={() => setFollow(false)}
          onPointerDown={({ target, currentTarget }) => target === currentTarget && setFollow(false)}
        >
          <div className="rc-log__rows" role="rowgroup" style={{ blockSize: view.height }}>
            <div className="rc-log__window" role="presentation" style={{ transform: `translateY(${view.offset}px)` }}>
              {rows}
            </div>
          </div>
        </div>
        {!follow && until === undefined && (
          <button type="button" className="rc-pill rc-log__follow" onClick={() => setFollow(true)}>
            <Icon name="down" />
            {fresh > 0 ? `${whole(fresh)} new` : 'Follow'}
          </button>
        )}
      </div>
      {open && marked !== undefined && <LogDetail event={marked} onClose={() => setOpen(false)} />}
    </div>
  );
}
