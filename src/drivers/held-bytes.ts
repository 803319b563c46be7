/**
 * What all peers of an edge together may hold back of heads, frames and messages that are
 * not whole yet: each single one is bounded, thousands of them at once are not.
 *
 * What each holds up to `freeBytes` is not counted, so that those who announce much and
 * send it slowly cannot keep others from a frame that came in two pieces.
 */
export const freeBytes = 4 * 1024;

export class HeldBytes {
  private bytes = 0;
  private refused = 0;

  constructor(readonly bytesMax: number) {}

  get heldBytes(): number {
    return this.bytes;
  }

  /** How often somebody was refused for want of room. */
  get refusals(): number {
    return this.refused;
  }

  /** For a buffer that grows; false, and nothing is taken, where there is no room. */
  resize(fromBytes: number, toBytes: number): boolean {
    const more = Math.max(0, toBytes - freeBytes) - Math.max(0, fromBytes - freeBytes);
    if (more > 0 && this.bytes + more > this.bytesMax) {
      this.refused++;
      return false;
    }
    this.bytes += more;
    return true;
  }
}
