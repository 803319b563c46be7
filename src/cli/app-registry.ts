/** How commands read an app from the registry. */
import { accepted, type Result, refused } from "../base/result.js";
import type { KeyValue } from "../ports/key-value.js";
import { type AppRecord, decodeAppRecord } from "../protocol/app-record.js";
import { encodeToken } from "../protocol/tokens.js";

export interface FoundApp {
  readonly record: AppRecord;
  readonly revision: number;
}

export async function readApp(
  apps: KeyValue,
  app: string,
): Promise<Result<FoundApp, "UNKNOWN_APP" | "UNSUPPORTED">> {
  const entry = await apps.get(encodeToken(app));
  if (entry === undefined) return refused("UNKNOWN_APP", `no app is registered as ${app}`);
  const record = decodeAppRecord(entry.value);
  if (record === undefined) {
    return refused("UNSUPPORTED", `the record of app ${app} is of a version unknown here`);
  }
  return accepted({ record, revision: entry.revision });
}
