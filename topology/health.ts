/**
 * When something counts as unwell: a node, or one group of shards on it. Pure; the
 * health actor probes, this judges.
 *
 *   well ──(so many bad probes in a row)──▶ unwell
 *    ▲                                        │
 *    └──(so many good ones, and its time)─────┘
 *
 * One bad probe proves nothing: a process that was paused has one. And what was handed
 * over must not come back to fail again at once, so each relapse waits twice as long.
 */
export interface HealthLimits {
  readonly badProbesMax: number;
  readonly goodProbesMin: number;
  /** Unwell for at least so long, doubling with each relapse up to the second. */
  readonly unwellMs: number;
  readonly unwellMsMax: number;
}

export interface Health {
  /** Undefined while well; while unwell, what made it so. */
  readonly reason: string | undefined;
  /** Probes in a row that say the contrary. */
  readonly contrary: number;
  readonly sinceMs: number;
  /** Of the present unwellness, or the last. */
  readonly unwellMs: number;
}

export const wellFromTheStart: Health = {
  reason: undefined,
  contrary: 0,
  sinceMs: Number.NEGATIVE_INFINITY,
  unwellMs: 0,
};

/** `complaint`: what one probe found wrong, if anything. */
export function judge(
  health: Health,
  complaint: string | undefined,
  nowMs: number,
  limits: HealthLimits,
): Health {
  const isUnwell = health.reason !== undefined;
  const isContrary = isUnwell === (complaint === undefined);
  const contrary = isContrary ? health.contrary + 1 : 0;
  if (isContrary && (isUnwell ? mayRecover() : contrary >= limits.badProbesMax)) {
    return { reason: complaint, contrary: 0, sinceMs: nowMs, unwellMs: nextUnwellMs() };
  }
  return contrary === health.contrary ? health : { ...health, contrary };

  function mayRecover(): boolean {
    return contrary >= limits.goodProbesMin && nowMs - health.sinceMs >= health.unwellMs;
  }

  function nextUnwellMs(): number {
    if (isUnwell) return health.unwellMs;
    if (!isRelapse(health, nowMs)) return limits.unwellMs;
    return Math.min(2 * health.unwellMs, limits.unwellMsMax);
  }
}

/** Unwell again so soon is the same trouble, and no new one. */
export function isRelapse(health: Health, nowMs: number): boolean {
  return nowMs - health.sinceMs <= relapseFactor * health.unwellMs;
}

/** What was handed over may be a while on its way back before it can fail again. */
const relapseFactor = 4;
