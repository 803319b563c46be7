/**
 * What happened in a run: a hash over all of it, to compare two runs of one seed, and
 * the last notable lines for people to read.
 */
const linesKept = 20_000;

export class Trace {
  private low = 0x811c9dc5;
  private high = 0x01000193;
  private lines: string[] = [];
  events = 0;

  /** `isKept`: lines cost time, so only a run that somebody will read keeps them. */
  constructor(private readonly isKept: boolean) {}

  /** Every event, cheap. */
  count(atMs: number, label: string): void {
    this.events++;
    let { low } = this;
    for (let at = 0; at < label.length; at++) {
      low = Math.imul(low ^ label.charCodeAt(at), 0x01000193);
    }
    this.low = low;
    this.high = Math.imul(this.high ^ Math.round(atMs * 1_000) ^ low, 0x85ebca6b);
  }

  /** Something that a reader wants to know; also hashed. */
  note(atMs: number, where: string, what: string, detail: () => string): void {
    this.count(atMs, what);
    if (!this.isKept) return;
    const time = (atMs / 1_000).toFixed(6).padStart(11);
    this.lines.push(`${time}  ${where.padEnd(12)} ${what} ${detail()}`);
    if (this.lines.length > linesKept * 2) this.lines = this.lines.slice(-linesKept);
  }

  get hash(): string {
    const part = (word: number) => (word >>> 0).toString(16).padStart(8, "0");
    return part(this.low) + part(this.high);
  }

  tail(count: number): readonly string[] {
    return count > 0 ? this.lines.slice(-count) : [];
  }
}
