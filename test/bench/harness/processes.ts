/** CPU time and memory of processes, from /proc: of a process, of one with its children, and of the machine. */
import { readdirSync, readFileSync } from 'node:fs';

/** Jiffies a second, as the kernel shows them to programs on every architecture that Node.js runs on. */
const HERTZ = 100;

interface Times {
  readonly parent: number;
  /** CPU seconds of its threads, and of the children that it has waited for. */
  readonly own: number;
  readonly reaped: number;
}

function timesOf(pid: number): Times | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11);
    return { parent: fields[1] ?? 0, own: (user + system) / HERTZ, reaped: (childUser + childSystem) / HERTZ };
  } catch {
    return null; // it has exited
  }
}

/** CPU seconds of a process. */
export const cpuOf = (pid: number) => timesOf(pid)?.own ?? 0;

/** CPU seconds of a process and of its children, those that have exited included. */
export function cpuOfTree(pid: number): number {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const children = all.map((name) => timesOf(Number(name))).filter((times) => times?.parent === pid);
  const { own = 0, reaped = 0 } = timesOf(pid) ?? {};
  return children.reduce((sum, times) => sum + (times?.own ?? 0) + (times?.reaped ?? 0), own + reaped);
}

/** CPU seconds that the whole machine was busy. */
export function busySeconds(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / HERTZ;
}

/** Resident memory of a process, in KB: now, and at its highest. */
export function memoryOf(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return { now: of('VmRSS'), peak: of('VmHWM') };
}

/** CPU seconds of this process. */
export function ownCpu(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** The parts of a turn whose CPU time is read, by name: server, feed, postgres, client. */
export type Parts = Readonly<Record<string, () => number>>;

/** Begins to measure; the function that it returns tells the cores that each part has used since, and what others used. */
export function meter(parts: Parts): () => { seconds: number; cores: Record<string, number> } {
  const all: Parts = { ...parts, harness: ownCpu };
  const read = () => Object.entries(all).map(([name, cpu]) => [name, cpu()] as const);
  const [before, busy, at] = [Object.fromEntries(read()), busySeconds(), performance.now()];
  return () => {
    const seconds = (performance.now() - at) / 1000;
    const used = read().map(([name, cpu]) => [name, (cpu - (before[name] ?? 0)) / seconds] as const);
    const ours = used.reduce((sum, [, cores]) => sum + cores, 0);
    return {
      seconds,
      cores: { ...Object.fromEntries(used), others: Math.max(0, (busySeconds() - busy) / seconds - ours) },
    };
  };
}
