/**
 * Strings of their own, for those cut out of a longer one. V8 lets a slice of 13
 * characters or more point into the string it was cut from, so that one name kept
 * from a batch keeps kilobytes; what passes here does not.
 *
 * A direct-mapped cache: one string a slot, the latest wins. So what comes again and
 * again (addresses, kinds of messages) is one string, found for less than a copy
 * costs, and whatever else comes by, the pool holds at most SLOTS strings.
 */

const SLOTS = 1_024;
/** V8's SlicedString::kMinLength: shorter ones are copied by `slice` itself. */
const SLICE_LENGTH_MIN = 13;

export class StringPool {
  private readonly slots = new Array<string>(SLOTS).fill("");

  /** Longer strings than `lengthMax` are given back as they are. */
  constructor(private readonly lengthMax: number) {}

  /** An equal string that keeps nothing else alive. */
  own(text: string): string {
    const { length } = text;
    if (length < SLICE_LENGTH_MIN || length > this.lengthMax) return text;
    const slot = slotOf(text, length);
    const known = this.slots[slot];
    if (known === text) return known;
    const copy = copyOf(text);
    this.slots[slot] = copy;
    return copy;
  }
}

// A few characters tell names apart well enough: numbers differ at their ends, the
// addresses of two nodes before their middle. A collision costs a copy, nothing else.
function slotOf(text: string, length: number): number {
  const ends = text.charCodeAt(length - 1) + text.charCodeAt(length - 2) * 31;
  const middle = text.charCodeAt(length >> 1) * 131 + text.charCodeAt(length >> 2) * 521;
  return (ends + middle + text.charCodeAt(length - 3) * 257 + length * 61) & (SLOTS - 1);
}

// `join` writes its parts into a new flat string (measured: half the cost of a trip
// through a Buffer); a single part, or `+`, would only be another reference.
function copyOf(text: string): string {
  return [text.charAt(0), text.slice(1)].join("");
}
