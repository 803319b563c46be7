/** A text of 1 to `bytesMax` bytes of UTF-8. */
export function isShortText(value: unknown, bytesMax: number): value is string {
  if (typeof value !== "string" || value === "" || value.length > bytesMax) return false;
  // A character is at most three bytes of UTF-8 for each of its UTF-16 units.
  return value.length * 3 <= bytesMax || new TextEncoder().encode(value).length <= bytesMax;
}
