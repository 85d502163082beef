'use client';
/**
 * What a screen reader is told: sentences of the page, in one region that is there from the start, at most one every five
 * seconds. What is urgent, such as a failure, is said at once. The log itself does not speak.
 */
import {
  createContext,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
} from 'react';

/** The least time between two announcements, in milliseconds. */
const PAUSE = 5_000;

export type Verbosity = 'off' | 'important' | 'all';

export type Announce = (sentence: string, urgent?: boolean) => void;

const AnnounceContext = createContext<Announce>(() => {});

export interface AnnouncerProps {
  /** `important`: only what is urgent. `all` by default. */
  readonly verbosity?: Verbosity | undefined;
  readonly children?: ReactNode;
}

/** Gives the components inside a way to tell a screen reader something. */
export function Announcer({ verbosity = 'all', children }: AnnouncerProps): ReactElement {
  const [said, setSaid] = useState('');
  const waiting = useRef<string | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const say = useCallback((sentence: string) => {
    waiting.current = null;
    setSaid(sentence);
    timer.current = setTimeout(() => {
      timer.current = null;
      if (waiting.current !== null) say(waiting.current);
    }, PAUSE);
  }, []);
  useEffect(
    () => () => {
      if (timer.current !== null) clearTimeout(timer.current);
    },
    [],
  );
  const announce = useCallback<Announce>(
    (sentence, urgent = false) => {
      if (verbosity === 'off' || (verbosity === 'important' && !urgent)) return;
      if (timer.current === null) return say(sentence);
      waiting.current = sentence; // the latest replaces those that wait
      if (!urgent) return;
      clearTimeout(timer.current);
      say(sentence);
    },
    [verbosity, say],
  );
  return (
    <AnnounceContext.Provider value={announce}>
      {children}
      <p className="rc-hidden" role="status" aria-live="polite">
        {said}
      </p>
    </AnnounceContext.Provider>
  );
}

export function useAnnounce(): Announce {
  return useContext(AnnounceContext);
}

/** Announces a sentence whenever it changes; null says nothing. Not the first one: the page says that by itself. */
export function useAnnounced(sentence: string | null, urgent = false): void {
  const announce = useAnnounce();
  const before = useRef(sentence);
  const latest = useMemo(() => ({ urgent }), [urgent]);
  useEffect(() => {
    if (before.current === sentence) return;
    before.current = sentence;
    if (sentence !== null) announce(sentence, latest.urgent);
  }, [sentence, announce, latest]);
}
