/**
 * Where services read what became of messages and users. One contract suite
 * (test/contract/event-log.ts) holds every implementation to what is said here.
 *
 * What is published under an id that was seen within the log's duplicate window is
 * taken as the same event, and stored once: so whoever does not know whether an event
 * arrived publishes it again, also another owner of the shard.
 */

/** For how long a log knows the ids that it has stored. */
export const duplicateWindowMs = 120_000;

export interface LoggedEvent {
  readonly subject: string;
  readonly id: string;
  readonly payload: Uint8Array;
}

export interface EventLog {
  /**
   * Resolves when the log has the event, as a new one or as one it had. An event whose promise
   * has resolved stands before each that is published afterwards.
   * Throws Fault("EVENTS_UNAVAILABLE", "not-done" | "unknown"), within a bound of its own.
   */
  publish(event: LoggedEvent): Promise<{ readonly isDuplicate: boolean }>;
  /** Deletes what it has under the subjects, which may end in `>`. Throws as `publish`. */
  forget(subjects: string): Promise<void>;
}
