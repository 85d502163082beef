/** Starts an execution from a plan, which is checked first. */
import { type ReactElement, useId, useState } from 'react';
import { type Check, PreflightChecklist } from '../../react/ui/index.js';
import { sendJson } from '../access.js';
import { go } from '../places.js';
import { type Started, useAct } from './engine-api.js';

interface Review {
  readonly valid: boolean;
  readonly score: number;
  readonly checks: readonly { readonly check: string; readonly ok: boolean; readonly detail: string }[];
  readonly tasks: number;
  readonly width: number;
  readonly critical_path: readonly string[];
}

const SAMPLE = JSON.stringify(
  {
    tasks: [
      { name: 'find', agent_type: 'researcher', input: { takes: 3_000 } },
      { name: 'approve', kind: 'human', needs: ['find'] },
      { name: 'write', agent_type: 'writer', needs: ['approve'], input: { takes: 3_000 } },
    ],
    options: { on_failure: 'hold' },
  },
  null,
  2,
);

export function StartForm({ venture }: { readonly venture: string }): ReactElement {
  const id = useId();
  const [text, setText] = useState(SAMPLE);
  const [review, setReview] = useState<Review | null>(null);
  const [malformed, setMalformed] = useState<string | null>(null);
  const { act, busy, error } = useAct();
  const send = (path: string, then: (answer: never) => void) => {
    let plan: object;
    try {
      plan = JSON.parse(text);
    } catch (reason) {
      setMalformed(`The plan is not JSON: ${(reason as Error).message}`);
      return;
    }
    setMalformed(null);
    void act(async () => then(await sendJson('POST', path, { venture_id: venture, ...plan })));
  };
  const refused = malformed ?? error?.message ?? null;
  return (
    <form
      className="start"
      onSubmit={(event) => {
        event.preventDefault();
        send('/api/executions/validate', (found: Review) => setReview(found));
      }}
    >
      <label htmlFor={id}>Plan: tasks, or items that rules turn into tasks</label>
      <textarea
        id={id}
        className="rc-input start__plan"
        rows={12}
        spellCheck={false}
        value={text}
        onChange={({ target }) => {
          setText(target.value);
          setReview(null); // of another plan
        }}
      />
      <button type="submit" className="rc-button" disabled={busy}>
        Check
      </button>
      {refused !== null && (
        <p className="engine__error" role="alert">
          {refused}
        </p>
      )}
      {review !== null && (
        <>
          <p className="start__sum">
            Completeness {review.score} of 100
            {review.valid &&
              ` · ${review.tasks} tasks, at most ${review.width} at the same time · the longest way: ${review.critical_path.join(' → ')}`}
          </p>
          <PreflightChecklist
            checks={review.checks.map(checkOf(review.valid))}
            onRun={() => send('/api/executions/start', ({ execution_id }: Started) => go(`/e/${execution_id}`))}
          />
        </>
      )}
    </form>
  );
}

const checkOf =
  (valid: boolean) =>
  ({ check, ok, detail }: Review['checks'][number]): Check => ({
    id: check,
    label: check,
    state: ok ? 'ok' : valid ? 'recommended' : 'missing',
    hint: detail,
  });
