/** What an execution is called: by its metadata, where these have a name for it. */
export function titleOf(metadata: unknown): string | undefined {
  if (typeof metadata !== 'object' || metadata === null) return undefined;
  const { title, name, task } = metadata as Readonly<Record<string, unknown>>;
  const found = [title, name, task].find((value) => typeof value === 'string' && value !== '');
  return typeof found === 'string' ? found.slice(0, 120) : undefined;
}
