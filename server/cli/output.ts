/** Control characters (C0, DEL, C1), which a terminal would obey: they come from writers of rows, or from other logins. */
const CONTROL = /\p{Cc}/gu;
const CONTROL_BUT_NEWLINE = /(?!\n)\p{Cc}/gu;

const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** A text of someone else, as a part of one line. */
export function onOneLine(text: string): string {
  return text.replace(CONTROL, escaped);
}

const visible = (lines: readonly string[]) => `${lines.join('\n').replace(CONTROL_BUT_NEWLINE, escaped)}\n`;

/** Prints lines to standard output. */
export function print(...lines: string[]): void {
  process.stdout.write(visible(lines));
}

/** Prints lines to standard error. */
export function complain(...lines: string[]): void {
  process.stderr.write(visible(lines));
}

/** Resolves when standard output is flushed. Without it `process.exit` would lose output to a pipe. */
export function flushed(): Promise<void> {
  return new Promise((resolve) => process.stdout.write('', () => resolve()));
}

/** Exits with 0 when the reader of a pipe closes it, as in `rowcast watch … | head`. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
}

/** Formats rows as aligned columns. The first row is the heading. */
export function table(texts: readonly (readonly string[])[]): string[] {
  const rows = texts.map((row) => row.map(onOneLine));
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
