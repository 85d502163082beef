/**
 * The address of the page: which page it shows, and what of it. Everything that matters is in the address, so that a reload and
 * a link show the same. It works behind any path prefix: the root is found from where this file came from.
 */
import { useSyncExternalStore } from 'react';

export type Place =
  | { readonly page: 'executions' }
  | { readonly page: 'execution'; readonly id: string }
  | { readonly page: 'channel'; readonly channel: string }
  | { readonly page: 'channels' }
  | { readonly page: 'engine' }
  | { readonly page: 'gateway' }
  | { readonly page: 'unknown' };

const { url: HERE } = import.meta; // apart from `new URL`, which the build would take for the name of a file
/** Where the gateway is, with a slash at the end. A build puts this file into `assets/`. */
export const ROOT = new URL('../', HERE);

/** The URL of a path of the gateway. */
export const urlOf = (path: string) => new URL(path.replace(/^\//, ''), ROOT).href;

const listeners = new Set<() => void>();
window.addEventListener('popstate', () => tell());

function tell(): void {
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const read = () => location.pathname + location.search;

export function usePlace(): { readonly place: Place; readonly query: URLSearchParams } {
  const address = useSyncExternalStore(subscribe, read);
  const { pathname, searchParams } = new URL(address, location.href);
  return { place: placeOf(pathname.slice(ROOT.pathname.length)), query: searchParams };
}

function placeOf(path: string): Place {
  const [page = '', ...rest] = path.split('/').map(decodeURIComponent);
  const name = rest.join('/');
  if (page === '') return { page: 'executions' };
  if (page === 'gateway' || page === 'engine') return { page };
  if (page === 'e' && name !== '') return { page: 'execution', id: name };
  if (page === 'c') return name === '' ? { page: 'channels' } : { page: 'channel', channel: name };
  return { page: 'unknown' };
}

/** Shows another page. */
export function go(path: string): void {
  history.pushState(null, '', urlOf(path));
  tell();
  window.scrollTo(0, 0);
}

/** Changes what of this page is shown. Undefined removes a name. */
export function setQuery(changes: Readonly<Record<string, string | undefined>>): void {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  if (url.href === location.href) return;
  history.replaceState(null, '', url);
  tell();
}
