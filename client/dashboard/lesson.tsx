/** The empty state that teaches: what to write, and what happens then. */
import { type ReactElement, type ReactNode, useState } from 'react';
import { Icon } from '../react/ui/icon.js';
import { ConnectionStatus } from '../react/ui/index.js';
import { urlOf } from './places.js';

export function Lesson({ venture }: { readonly venture: string }): ReactElement {
  const sql = `INSERT INTO agent_executions (venture_id, status, metadata)
  VALUES ('${venture}', 'running', '{"title": "my first run"}')`;
  const http = `curl ${urlOf('/api/agents/executions')} \\
  -H 'Content-Type: application/json' -H "Idempotency-Key: $(date +%s)" \\
  -d '{"venture_id": "${venture}", "initial_status": "running"}'`;
  return (
    <Teaching
      title="Nothing has happened here yet"
      intro="Make something happen: the execution appears here by itself."
    >
      <Command label="With psql" text={`psql "$DATABASE_URL" -c "${sql.replaceAll('"', '\\"')}"`} />
      <Command label="Over HTTP" text={http} />
    </Teaching>
  );
}

export function ChannelLesson({ channel }: { readonly channel: string }): ReactElement {
  const [stream = '', key = ''] = splitOnce(channel);
  const sql =
    stream === 'message'
      ? `SELECT rowcast.publish('${channel.replaceAll("'", "''")}', 'greeting', '{"hello": "world"}')`
      : stream === 'execution'
        ? `INSERT INTO agent_execution_logs (execution_id, message) VALUES ('${key.replaceAll("'", "''")}', 'hello')`
        : null;
  return (
    <Teaching
      title="No event yet"
      intro={
        sql === null
          ? `Insert a row with the key ${key} into the table of the stream ${stream}.`
          : 'Insert a row: it appears here, and says how long it took.'
      }
    >
      {sql !== null && <Command label="With psql" text={`psql "$DATABASE_URL" -c "${sql.replaceAll('"', '\\"')}"`} />}
    </Teaching>
  );
}

function splitOnce(channel: string): [string, string] {
  const at = channel.indexOf(':');
  return [channel.slice(0, at), channel.slice(at + 1)];
}

interface TeachingProps {
  readonly title: string;
  readonly intro: string;
  readonly children: ReactNode;
}

function Teaching({ title, intro, children }: TeachingProps): ReactElement {
  return (
    <div className="lesson">
      <h2 className="lesson__title">{title}</h2>
      <p className="lesson__intro">{intro}</p>
      {children}
      <p className="lesson__wait">
        Waiting. <ConnectionStatus />
      </p>
    </div>
  );
}

function Command({ label, text }: { readonly label: string; readonly text: string }): ReactElement {
  const [copied, setCopied] = useState(false);
  const copy = () =>
    navigator.clipboard
      ?.writeText(text)
      .then(() => setCopied(true))
      .catch(() => setCopied(false));
  return (
    <figure className="command">
      <figcaption className="command__label">
        {label}
        <button
          type="button"
          className="rc-button rc-button--small"
          onClick={() => void copy()}
          onBlur={() => setCopied(false)}
        >
          <Icon name="link" />
          {copied ? 'Copied' : 'Copy'}
        </button>
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that */}
      <pre className="command__text" tabIndex={0}>
        {text}
      </pre>
    </figure>
  );
}
