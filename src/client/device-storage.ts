/**
 * Text under keys; both methods may answer at once or with a promise. What was never set is
 * null or undefined: where `get` rejects instead, or does not answer within 5 s, nothing is
 * written over what it may hold.
 */
export interface DeviceStorage {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): void | Promise<void>;
}
