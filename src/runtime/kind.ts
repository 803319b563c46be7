/** One constant per class of actors, shared by all of its instances. */
export interface ActorKind {
  readonly name: string;
  readonly mailbox: { readonly max: number; readonly onFull: OverflowPolicy };
  /** Which ends of this actor its parent answers with a new instance. */
  readonly restart: RestartPolicy;
  /** Messages that one actor may process in one turn of the loop; 64. */
  readonly quantum?: number;
  /** Stopped, normally and unseen, after being idle for one to two of these. */
  readonly passivateAfterMs?: number;
  /** Bounds the wait for a running turn and for `stopping`; 5 s. */
  readonly stopDeadlineMs?: number;
  /** Whom a child's restart takes along; one-for-one. */
  readonly strategy?: SupervisionStrategy;
  /** Of all its children together; beyond it this actor crashes itself; 5 in 10 s. */
  readonly intensity?: { readonly restarts: number; readonly withinMs: number };
  /** Full jitter before a child, or a group, starts again; 50 ms doubling up to 5 s. */
  readonly backoff?: { readonly baseMs: number; readonly capMs: number };
}

/** What becomes of a message when the mailbox is full: only "reject" tells the sender. */
export type OverflowPolicy = "reject" | "drop-oldest" | "drop-newest";

/** permanent: after every end; transient: after a crash; temporary: never. */
export type RestartPolicy = "permanent" | "transient" | "temporary";

/**
 * What the end of a child that is to be restarted does to its siblings, as in OTP:
 * nothing (one-for-one), or it stops all of them (one-for-all) or those spawned
 * after it (rest-for-one), the last one first, and after one backoff starts them
 * again in the order of spawning. It is one restart in the intensity.
 *
 * A sibling ends as by a stop: it finishes its turn, `stopping` gets "normal", its
 * children, timers and watches die. Its ref and its mailbox live on, the message
 * that it was working on does not. Temporary ones are gone for good, and so is a
 * transient one that had asked for its own stop; only of those do watchers hear.
 */
export type SupervisionStrategy = "one-for-one" | "one-for-all" | "rest-for-one";

export const DEFAULT_QUANTUM = 64;
export const DEFAULT_STOP_DEADLINE_MS = 5_000;
export const DEFAULT_INTENSITY = { restarts: 5, withinMs: 10_000 } as const;
export const DEFAULT_BACKOFF = { baseMs: 50, capMs: 5_000 } as const;
