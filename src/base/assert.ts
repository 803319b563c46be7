/**
 * Assertions are for bugs only: a failed one throws and the supervisor restarts
 * the actor. Bytes from outside never reach one; they are decoded and refused.
 */
export class AssertionFailed extends Error {
  override readonly name = "AssertionFailed";
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailed(message);
}

/**
 * Closes an exhaustive switch over what may come from another node: the compiler proves
 * that all kinds of this version are handled, and a newer node's kinds change nothing.
 */
export function ignoreUnknown(_message: never): void {
  // Nothing to do; the sender's version does not count on it.
}

/** Closes an exhaustive switch: the compiler proves that it is never reached. */
export function unreachable(value: never): never {
  throw new AssertionFailed(`unreachable: ${JSON.stringify(value)}`);
}
