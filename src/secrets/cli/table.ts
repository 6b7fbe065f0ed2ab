/** Returns rows as a table for a terminal. The names of their members are its head. */
export function table<Row extends { [column in keyof Row]: string }>(rows: Row[]): string {
  const names = Object.keys(rows[0] ?? {}) as (keyof Row & string)[]
  const lines = [
    names.map((name) => name.toUpperCase()),
    ...rows.map((row) => names.map((name) => printable(row[name] ?? ''))),
  ]
  const widths = names.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  const padded = lines.map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)))
  return padded.map((line) => `${line.join('  ').trimEnd()}\n`).join('')
}

// A terminal obeys control characters (C0, DEL, C1) and the marks that change the direction of text.
export const printable = (text: string) => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '')

/** Returns a time in UTC, to the second. Returns a dash if there is none. */
export const timeText = (time: number | undefined) =>
  time === undefined ? '-' : new Date(time).toISOString().slice(0, 19)
