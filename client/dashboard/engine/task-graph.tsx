/** The tasks of an execution as a graph: each to the right of what it needs. */
import { type ReactElement, useEffect, useRef } from 'react';
import { cut } from '../../react/ui/format.js';
import { Icon } from '../../react/ui/icon.js';
import { SIGNS, type Task } from './engine-api.js';

/** In pixels. */
const NODE = { width: 172, height: 46 };
const GAP = { x: 44, y: 12 };

interface Placed {
  readonly task: Task;
  readonly x: number;
  readonly y: number;
}

export interface TaskGraphProps {
  readonly tasks: readonly Task[];
  readonly selected: string | null;
  readonly onSelect: (taskId: string) => void;
}

export function TaskGraph({ tasks, selected, onSelect }: TaskGraphProps): ReactElement {
  const places = placesOf(tasks);
  const byName = new Map(places.map((place) => [place.task.name, place]));
  const width = Math.max(0, ...places.map(({ x }) => x + NODE.width));
  const height = Math.max(0, ...places.map(({ y }) => y + NODE.height));
  const box = useRef<HTMLDivElement>(null);
  const active =
    places.find(({ task }) => task.status === 'running') ?? places.find(({ task }) => task.status === 'ready');
  const left = active === undefined ? null : Math.max(0, active.x - NODE.width);
  useEffect(() => {
    if (left !== null && box.current !== null && !box.current.matches(':focus-within, :hover')) {
      box.current.scrollLeft = left;
    }
  }, [left]);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that
    <section ref={box} className="graph" aria-label="Graph of the tasks" tabIndex={0}>
      <div className="graph__plane" style={{ inlineSize: width, blockSize: height }}>
        <svg className="graph__edges" width={width} height={height} aria-hidden="true" focusable="false">
          {places.flatMap(({ task, x, y }) =>
            task.needs.flatMap((name) => {
              const from = byName.get(name);
              if (from === undefined) return [];
              const [x1, y1, y2] = [from.x + NODE.width, from.y + NODE.height / 2, y + NODE.height / 2];
              const middle = (x1 + x) / 2;
              return (
                <path
                  key={`${name} ${task.task_id}`}
                  className="graph__edge"
                  data-state={from.task.status}
                  d={`M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x} ${y2}`}
                />
              );
            }),
          )}
        </svg>
        <ol className="graph__nodes">
          {places.map(({ task, x, y }) => (
            <li key={task.task_id} className="graph__place" style={{ insetInlineStart: x, insetBlockStart: y }}>
              <button
                type="button"
                className="graph__node"
                data-state={task.status}
                aria-pressed={task.task_id === selected}
                onClick={() => onSelect(task.task_id)}
              >
                <span className="graph__name">{cut(task.name, 60)}</span>
                <span className="graph__state">
                  <Icon name={SIGNS[task.status]} />
                  {task.status}
                  {task.attempt > 1 && ` · attempt ${task.attempt}`}
                </span>
              </button>
            </li>
          ))}
        </ol>
      </div>
    </section>
  );
}

/** The column is the longest way to a task; in a column they stand in the order of the plan, none above what it needs. */
function placesOf(tasks: readonly Task[]): Placed[] {
  const byName = new Map(tasks.map((task) => [task.name, task]));
  const levels = new Map<string, number>();
  const levelOf = (name: string): number => {
    const known = levels.get(name);
    if (known !== undefined) return known;
    const needs = byName.get(name)?.needs.filter((need) => byName.has(need)) ?? [];
    const level = needs.length === 0 ? 0 : 1 + Math.max(...needs.map(levelOf));
    levels.set(name, level);
    return level;
  };
  const used = new Map<number, number>();
  const rows = new Map<string, number>();
  return tasks
    .toSorted((a, b) => levelOf(a.name) - levelOf(b.name))
    .map((task) => {
      const level = levelOf(task.name);
      const above = Math.min(...task.needs.flatMap((need) => rows.get(need) ?? []));
      const row = Math.max(used.get(level) ?? 0, Number.isFinite(above) ? above : 0);
      used.set(level, row + 1);
      rows.set(task.name, row);
      return { task, x: level * (NODE.width + GAP.x), y: row * (NODE.height + GAP.y) };
    });
}
