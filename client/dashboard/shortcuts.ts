/** Keys of a single letter. They can be switched off, and do nothing while something is typed. */
import { useEffect, useRef } from 'react';

const KEY = 'rowcast shortcuts';

export const shortcutsOn = () => localStorage.getItem(KEY) !== 'off';
export const setShortcuts = (on: boolean) => localStorage.setItem(KEY, on ? 'on' : 'off');

export function useShortcuts(keys: Readonly<Record<string, () => void>>): void {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !shortcutsOn()) return;
      if (
        event.target instanceof HTMLElement &&
        event.target.closest('input:not([type=range]), select, textarea, dialog[open]')
      )
        return;
      const action = latest.current[event.key];
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    document.addEventListener('keydown', onKeyDown);
    return () => document.removeEventListener('keydown', onKeyDown);
  }, []);
}
