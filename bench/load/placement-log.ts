/** What nodes log of a failover, so that a bench can say where its time went. */

interface Line {
  readonly time: number;
  readonly msg: string;
}

const steps: readonly (readonly [string, RegExp])[] = [
  ["given up", /^placement gives up /],
  ["placed", /^placement gives unit /],
  ["stores open", /^group opened/],
];

export class PlacementLog {
  private lines: Line[] = [];

  readonly onLog = (_node: string, text: string): void => {
    try {
      const { time, msg } = JSON.parse(text) as Partial<Line>;
      if (typeof time === "number" && typeof msg === "string") this.lines.push({ time, msg });
    } catch {
      process.stderr.write(`${text}\n`);
    }
  };

  forget(): void {
    this.lines = [];
  }

  /** When each step was last taken, since `wallMs`; a step that was not logged is left out. */
  stepsSince(wallMs: number): string {
    return steps
      .flatMap(([step, pattern]) => {
        const times = this.lines.filter(({ msg }) => pattern.test(msg)).map(({ time }) => time);
        return times.length === 0 ? [] : [`${step} ${Math.max(...times) - wallMs}`];
      })
      .join(", ");
  }
}
