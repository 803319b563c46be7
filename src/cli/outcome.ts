/** How a command ends, and with which exit code. */
import type { Refusal } from "../base/result.js";
import type { Paint } from "./text.js";

/** Public: DESIGN §4. */
export const exitCodes = { done: 0, refused: 1, usage: 2, silent: 3 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export interface Report {
  readonly ok: true;
  /** What `--json` prints. */
  readonly document: unknown;
  readonly text: (paint: Paint) => string;
  /** 0 unless said otherwise: a report may tell that nobody answered. */
  readonly exitCode?: ExitCode;
}

/** USAGE and every code of protocol/errors; a node of a later version may have more. */
export interface CommandRefusal extends Refusal {
  readonly retryable?: boolean;
}

export type Outcome = Report | CommandRefusal;

export function report(
  document: unknown,
  text: (paint: Paint) => string,
  exitCode: ExitCode = exitCodes.done,
): Report {
  return { ok: true, document, text, exitCode };
}

export function exitCodeOf(outcome: Outcome): ExitCode {
  if (outcome.ok) return outcome.exitCode ?? exitCodes.done;
  return outcome.code === "USAGE" ? exitCodes.usage : exitCodes.refused;
}
