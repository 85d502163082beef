/** What a person chose for this browser: colours, and how times are shown. */
import { useEffect, useState } from 'react';
import type { TimeFormat } from '../react/ui/index.js';

const THEMES = ['system', 'light', 'dark'] as const;
const TIMES = ['local', 'utc', 'relative'] as const satisfies readonly TimeFormat[];

type Theme = (typeof THEMES)[number];

/** The value of a choice, and what goes on to the next one. */
type Choice<T> = readonly [T, () => void];

const readChoice = <T extends string>(key: string, values: readonly [T, ...T[]]): T =>
  values.find((value) => value === localStorage.getItem(key)) ?? values[0];

function useChoice<T extends string>(key: string, values: readonly [T, ...T[]]): Choice<T> {
  const [value, setValue] = useState(() => readChoice(key, values));
  const next = values[(values.indexOf(value) + 1) % values.length] ?? values[0];
  return [
    value,
    () => {
      localStorage.setItem(key, next);
      setValue(next);
    },
  ];
}

/** Before the first picture. */
export function applyTheme(theme = readChoice('rowcast theme', THEMES)): void {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function useTheme(): Choice<Theme> {
  const choice = useChoice('rowcast theme', THEMES);
  useEffect(() => applyTheme(choice[0]), [choice[0]]);
  return choice;
}

export const useTimeFormat = (): Choice<TimeFormat> => useChoice('rowcast times', TIMES);
