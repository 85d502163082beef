import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Step {
  readonly message: string;
  readonly context: unknown;
}

/**
 * Agent runs to replay: recorded ones from the folder that ROWCAST_TEST_AGENT_RUNS names (files `*.traj`, JSON with
 * a list `trajectory`), else made-up ones of the same shape, with steps of 1 to 30 KB.
 */
export function agentRuns(): Step[][] {
  const folder = process.env.ROWCAST_TEST_AGENT_RUNS;
  if (!folder) return [12, 30, 45, 60].map((steps, run) => madeUp(run, steps));
  return readdirSync(folder)
    .filter((name) => name.endsWith('.traj'))
    .sort()
    .map((name) => {
      const { trajectory } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
        trajectory: { action: string }[];
      };
      return trajectory.map((step) => ({ message: step.action, context: step }));
    });
}

function madeUp(run: number, steps: number): Step[] {
  return Array.from({ length: steps }, (_, step) => {
    const size = 1000 + ((run * 7919 + step * 104_729) % 29_000);
    const action = `edit ${step}:${step + 3} "übung 日本 \\u0041 \u{1F680}"\n`;
    return {
      message: action,
      context: { action, observation: '0123456789abcdef\n'.repeat(size / 17), state: { run, step } },
    };
  });
}
