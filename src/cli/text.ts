/**
 * Text for people: aligned columns, and colours where the output is a terminal.
 *
 * Control characters are replaced, since names in it were chosen by clients and a
 * terminal would obey them.
 */
import { isMap } from "../protocol/codec.js";

export type Style = "bold" | "dim" | "red" | "yellow" | "green";

export interface Cell {
  readonly text: string;
  readonly style?: Style;
}

export type Row = readonly (string | number | null | Cell)[];

/** Paints or leaves as it is. */
export type Paint = (text: string, style: Style | undefined) => string;

const codes: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, yellow: 33, green: 32 };

export function paintFor(isTerminal: boolean): Paint {
  if (!isTerminal) return (text) => text;
  return (text, style) => (style === undefined ? text : `\u001b[${codes[style]}m${text}\u001b[0m`);
}

/** Lines of equal columns, two spaces apart; null is a dash. */
export function table(rows: readonly Row[], paint: Paint): string {
  const cells = rows.map((row) => row.map(asCell));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, { text }] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, text.length);
    }
  }
  const lines = cells.map((row) =>
    row
      .map(({ text, style }, column) => {
        const isLast = column === row.length - 1;
        return paint(text, style) + (isLast ? "" : " ".repeat((widths[column] ?? 0) - text.length));
      })
      .join("  ")
      .trimEnd(),
  );
  return lines.join("\n");
}

export function headings(...names: readonly string[]): Row {
  return names.map((text) => ({ text, style: "bold" }));
}

function asCell(cell: string | number | null | Cell): Cell {
  if (cell === null) return { text: "-", style: "dim" };
  if (typeof cell === "object") return { ...cell, text: printable(cell.text) };
  return { text: printable(String(cell)) };
}

export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, "\ufffd");
}

/** Any value as indented `name: value` lines. */
export function fields(value: unknown, indent = ""): string {
  if (!isMap(value) && !Array.isArray(value)) return `${indent}${scalar(value)}`;
  const entries: [string, unknown][] = isMap(value)
    ? Object.entries(value)
    : value.map((each) => ["-", each]);
  return entries.map(([name, each]) => field(name, each, indent)).join("\n");
}

function field(name: string, value: unknown, indent: string): string {
  const head = name === "-" ? `${indent}-` : `${indent}${printable(name)}:`;
  const isNested = (isMap(value) && Object.keys(value).length > 0) || isLongList(value);
  if (!isNested) return `${head} ${scalar(value)}`;
  return `${head}\n${fields(value, `${indent}  `)}`;
}

function isLongList(value: unknown): boolean {
  return Array.isArray(value) && value.some((each) => typeof each === "object" && each !== null);
}

function scalar(value: unknown): string {
  if (typeof value === "string") return printable(value);
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(scalar).join(", ");
  if (isMap(value)) return "none";
  return value === null || value === undefined ? "-" : String(value);
}

/** 75 s is "1m15s": the two largest units. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [days, hours, minutes] = [86_400, 3_600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${days}d${(hours ?? 0) % 24}h`;
  if (hours) return `${hours}h${(minutes ?? 0) % 60}m`;
  if (minutes) return `${minutes}m${seconds % 60}s`;
  return `${seconds}s`;
}

export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
