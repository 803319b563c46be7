/** What people are told when an actor crashed; the process's part is to log and count it. */
import { AssertionFailed } from "../base/assert.js";
import { Fault } from "../base/result.js";

export interface CrashReport {
  readonly address: string;
  readonly kind: string;
  /** The message's kind, "pipe", or the hook: "started", "stopping", "createChild", "onChildStopped". */
  readonly messageType: string;
  readonly errorClass: "bug" | "fault" | "unknown";
  readonly error: string;
  readonly stack: string | undefined;
  /** Of this actor before now. */
  readonly restarts: number;
  /** A root actor gave up: nobody is left to restart it. */
  readonly fatal: boolean;
}

/** More restarts among an actor's children than its kind's intensity allows. */
export class RestartIntensityExceeded extends Error {
  override readonly name = "RestartIntensityExceeded";
}

export function errorClassOf(error: unknown): CrashReport["errorClass"] {
  if (error instanceof AssertionFailed) return "bug";
  return error instanceof Fault ? "fault" : "unknown";
}

export function describeError(error: unknown): { error: string; stack: string | undefined } {
  if (error instanceof Error)
    return { error: `${error.name}: ${error.message}`, stack: error.stack };
  return { error: `thrown: ${String(error)}`, stack: undefined };
}
