import { type ReactElement, useEffect, useState } from 'react';
import { whole } from '../react/ui/format.js';
import { askJson } from './access.js';
import { Link } from './link.js';
import { go } from './places.js';
import { useAsked } from './use-asked.js';

interface Listed {
  readonly channels: readonly { readonly channel: string; readonly head: number; readonly subscribers: number }[];
}

/** How often the list is read again, in milliseconds. */
const EVERY = 5_000;

export function ChannelsPage(): ReactElement {
  const [name, setName] = useState('');
  const { data, error } = useAsked<Listed>('channels', (signal) => askJson('/v1/channels', signal), EVERY);
  useEffect(() => {
    document.title = 'Channels · Rowcast';
  }, []);
  const channels = [...(data?.channels ?? [])].sort(
    (one, other) => other.subscribers - one.subscribers || other.head - one.head,
  );
  return (
    <section className="page">
      <header className="page__header">
        <h1 className="page__title">Channels</h1>
        <form
          className="page__form"
          onSubmit={(event) => {
            event.preventDefault();
            if (name.trim() !== '') go(`/c/${encodeURIComponent(name.trim())}`);
          }}
        >
          <label className="page__field">
            <span>Channel</span>
            <input
              className="rc-input page__channel"
              placeholder="message:lobby"
              value={name}
              spellCheck={false}
              onChange={({ target }) => setName(target.value)}
            />
          </label>
          <button type="submit" className="rc-button rc-button--primary">
            Open
          </button>
        </form>
      </header>
      {error !== null && data === undefined && (
        <p className="notice" role="note">
          {error.code === 'forbidden'
            ? 'Your token may not list channels. You can open one whose name you know.'
            : error.message}
        </p>
      )}
      {data !== undefined && (
        <div className="list">
          <table className="rc-table list__table">
            <thead>
              <tr>
                <th scope="col">Channel</th>
                <th scope="col" className="list__number">
                  Events
                </th>
                <th scope="col" className="list__number">
                  Readers here
                </th>
              </tr>
            </thead>
            <tbody>
              {channels.slice(0, 500).map(({ channel, head, subscribers }) => (
                <tr key={channel} className="list__row">
                  <td>
                    <Link to={`/c/${encodeURIComponent(channel)}`} className="list__link list__link--code">
                      {channel}
                    </Link>
                  </td>
                  <td className="list__number">{whole(head)}</td>
                  <td className="list__number">{subscribers === 0 ? '–' : whole(subscribers)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {channels.length === 0 && (
            <p className="rc-panel__note">No channel has an event yet. Open message:lobby, and see what to write.</p>
          )}
        </div>
      )}
    </section>
  );
}
