/** The last MsgIDs that the app took; the oldest leaves when a new one finds it full. */
export class SeenIds {
  private readonly ids: Set<string>;

  /** `newest` comes oldest first; only its last `idsMax` are kept. */
  constructor(
    private readonly idsMax: number,
    newest: readonly string[] = [],
  ) {
    this.ids = new Set(newest.slice(-idsMax));
  }

  has(id: string): boolean {
    return this.ids.has(id);
  }

  add(id: string): void {
    // A set keeps the order of insertion: what is seen again counts as new.
    this.ids.delete(id);
    this.ids.add(id);
    if (this.ids.size <= this.idsMax) return;
    for (const oldest of this.ids) {
      this.ids.delete(oldest);
      return;
    }
  }

  /** The newest `count` at most, oldest first. */
  newest(count: number): string[] {
    return [...this.ids].slice(-count);
  }

  get size(): number {
    return this.ids.size;
  }
}
