/** Text under keys; both methods may answer at once or with a promise. */
export interface DeviceStorage {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): void | Promise<void>;
}
