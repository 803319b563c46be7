/** Randomness as a port; the simulator's is seeded. */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
}

/** A delay in [0, min(cap, base * 2^attempt)): full jitter (AWS Architecture Blog, 2015). */
export function fullJitterMs(
  random: Random,
  attempt: number,
  baseMs: number,
  capMs: number,
): number {
  return random.next() * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30));
}

/** Characters of Crockford's base32, from `random`; for ids that need no secrecy. */
export function randomToken(random: Random, length: number): string {
  const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  let token = "";
  for (let at = 0; at < length; at++) token += alphabet[Math.floor(random.next() * 32)];
  return token;
}
