/**
 * How many messages of a partition a lane may give unacked: `min` for what is worked on,
 * and beside it what is held back for users who are set apart, up to `max`. Pure.
 *
 * JetStream counts what was put off by a NAK like what is under way (nats-server 2.10.27,
 * consumer.go, processNak), so only a wider window lets others past it.
 */
export interface WindowRules {
  readonly min: number;
  readonly max: number;
}

/** The window from now on; `current` where a change is not worth an order to the server. */
export function nextWindow(current: number, apart: number, { min, max }: WindowRules): number {
  const wanted = apart === 0 ? min : Math.min(max, 2 ** Math.ceil(Math.log2(min + 2 * apart)));
  if (current - apart < min / 2) return Math.max(current, wanted);
  return wanted <= current / 4 || apart === 0 ? wanted : current;
}

/** Another one held back would take the place of those who could go on. */
export function isWindowCrowded(apart: number, { max }: WindowRules): boolean {
  return apart > max * 0.75;
}
