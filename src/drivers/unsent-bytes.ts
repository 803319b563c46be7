/**
 * What all peers of an edge together may leave unread: the edge's actors bound each one
 * (and close it with a code that says so), and thousands below that bound are too many.
 *
 * Those who are behind are known in the order in which they fell behind. Above the budget
 * the longest behind goes: a peer on a slow network takes something now and then, and is
 * behind anew; one that reads nothing becomes the first.
 */
import type { Peer } from "./net-peer.js";

export class UnsentBytes {
  private readonly behind = new Map<Peer, number>();
  private bytes = 0;
  private gone = 0;

  constructor(
    private readonly bytesMax: number,
    private readonly onTooMuch: (peer: Peer) => void,
  ) {}

  get figures(): Readonly<Record<string, number>> {
    return { behind: this.behind.size, unsentBytes: this.bytes, unsentDisplaced: this.gone };
  }

  /** Its socket did not take all at once. */
  note(peer: Peer): void {
    const { bufferedBytes } = peer;
    this.bytes += bufferedBytes - (this.behind.get(peer) ?? 0);
    this.behind.set(peer, bufferedBytes);
    for (const [longest] of this.behind) {
      if (this.bytes <= this.bytesMax) return;
      this.gone++;
      this.forget(longest);
      this.onTooMuch(longest);
    }
  }

  /** It has taken all, or is gone. */
  forget(peer: Peer): void {
    this.bytes -= this.behind.get(peer) ?? 0;
    this.behind.delete(peer);
  }
}
