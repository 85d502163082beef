import { type ReactElement, useEffect, useRef } from 'react';
import type { Verbosity } from '../react/ui/index.js';
import { setShortcuts, shortcutsOn } from './shortcuts.js';

const KEYS = [
  ['/', 'search'],
  ['↑ ↓ Home End Enter', 'move in a list, and open'],
  ['f', 'follow the log, or stop following'],
  ['[  ]', 'one event back, one on'],
  ['e  E', 'next error, previous error'],
  ['l', 'the live edge'],
  ['Space', 'play and pause, on the scrubber'],
  ['?', 'this help'],
  ['Esc', 'close'],
] as const;

interface HelpProps {
  readonly verbosity: Verbosity;
  readonly onVerbosity: (verbosity: Verbosity) => void;
  readonly onClose: () => void;
}

export function Help({ verbosity, onVerbosity, onClose }: HelpProps): ReactElement {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} className="rc-dialog help" aria-labelledby="help" onClose={onClose}>
      <h2 id="help">Keys</h2>
      <dl className="help__keys">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label className="help__choice">
        <input type="checkbox" defaultChecked={shortcutsOn()} onChange={({ target }) => setShortcuts(target.checked)} />
        Keys of a single letter
      </label>
      <label className="help__choice">
        A screen reader is told
        <select
          className="rc-select"
          value={verbosity}
          onChange={({ target }) => onVerbosity(target.value as Verbosity)}
        >
          <option value="all">stages, progress and failures</option>
          <option value="important">failures, and the connection</option>
          <option value="off">nothing</option>
        </select>
      </label>
      <p className="help__links">
        <a href="api/docs">The HTTP API</a>
      </p>
      <form method="dialog" className="rc-dialog__actions">
        <button type="submit" className="rc-button rc-button--primary">
          Close
        </button>
      </form>
    </dialog>
  );
}
