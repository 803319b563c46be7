/** How long a server asks to stay away, as HTTP says it. Pure. */

/** A server that says more is not believed: a typing error must not lose a client for ever. */
export const hintMsMax = 3_600_000;

/** Milliseconds of a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date; 0 for what is neither. */
export function retryAfterMs(header: string | null | undefined, wallMs: number): number {
  if (!header) return 0;
  const text = header.trim();
  const isDate = text.endsWith("GMT");
  const untilMs = isDate
    ? Date.parse(text) - wallMs
    : /^\d+$/.test(text)
      ? Number(text) * 1_000
      : 0;
  return untilMs > 0 ? Math.min(untilMs, hintMsMax) : 0;
}
