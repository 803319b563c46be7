/**
 * The two ways an operation may fail without being a bug.
 *
 * A refusal is a value: the caller handles each code. A fault is thrown by a
 * driver when the world misbehaved; `outcome` says whether the effect may have
 * happened all the same, which decides if it can simply be tried again.
 */
export interface Refusal<Code extends string = string> {
  readonly ok: false;
  readonly code: Code;
  readonly message: string;
}

export interface Accepted<Value> {
  readonly ok: true;
  readonly value: Value;
}

export type Result<Value, Code extends string = string> = Accepted<Value> | Refusal<Code>;

export function accepted<Value>(value: Value): Accepted<Value> {
  return { ok: true, value };
}

export function refused<Code extends string>(code: Code, message: string): Refusal<Code> {
  return { ok: false, code, message };
}

export class Fault extends Error {
  override readonly name = "Fault";

  constructor(
    readonly code: string,
    readonly outcome: "not-done" | "unknown",
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
