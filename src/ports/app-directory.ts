/** The registered apps as a node sees them: a cache that follows the registry. */
import type { AppRecord } from "../protocol/app-record.js";

export interface AppDirectory {
  /** By name, not token. */
  find(app: string): AppRecord | undefined;
  /** Whether any app has a connect webhook; absent: none. */
  readonly hasConnectUrls?: boolean;
}
