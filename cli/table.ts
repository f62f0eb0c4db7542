// SPDX-License-Identifier: Apache-2.0
// Rows as an aligned table. Pure; every cell is made printable here, so that no command can forget it.
import { printable } from './printable.ts'

/** What a cell may hold; null is shown as a dash. */
export type Cell = string | number | null

/** Columns as wide as their widest cell, two spaces apart; no trailing spaces. Ends with a line break. */
export function formatTable(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const lines = [headings, ...rows.map((row) => row.map(cellText))]
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  const format = (line: readonly string[]): string =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return `${lines.map(format).join('\n')}\n`
}

/** `name   value`, one a line; what has no value is left out. */
export function formatFields(fields: readonly (readonly [name: string, value: Cell])[]): string {
  const shown = fields.filter(([, value]) => value !== null && value !== '')
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${cellText(value)}\n`).join('')
}

function cellText(cell: Cell): string {
  return cell === null || cell === '' ? '-' : printable(String(cell))
}
