/** An app as the registry (KV bucket `apps`, one key per encoded name) holds it. */
import { type AppConnect, readConnect } from "./app-connect.js";
import { type AppEvents, type AppLimits, readEvents, readLimits } from "./app-settings.js";
import { isMap } from "./codec.js";

export const appRecordVersion = 1;
/** Two secrets live at a time, so that a rotation needs no moment when both sides switch. */
export const liveSecretsMax = 2;

export interface AppRecord {
  readonly v: number;
  readonly app: string;
  /** Newest first; tokens signed with any of them are taken. */
  readonly secrets: readonly { readonly kid: string; readonly secret: string }[];
  /** When an entry leaves the inbox: once all live devices have acked it, or the first. */
  readonly delivery: "each-device" | "first-ack";
  readonly createdAtMs: number;
  readonly limits?: AppLimits;
  /** Which events its services are told; absent is none. */
  readonly events?: AppEvents;
  /** Who vouches for its clients in place of its secrets; absent: the secrets. */
  readonly connect?: AppConnect;
}

export function encodeAppRecord(record: AppRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

/**
 * Undefined for bytes that are no app record of a version this node knows. Fields that are
 * not known here stay in it, so that whoever writes it back takes none away.
 */
export function decodeAppRecord(bytes: Uint8Array): AppRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
  if (!isMap(value) || value.v !== appRecordVersion || typeof value.app !== "string") {
    return undefined;
  }
  const { secrets } = value;
  if (!Array.isArray(secrets) || !secrets.every(isSecret)) return undefined;
  return {
    ...value,
    v: appRecordVersion,
    app: value.app,
    secrets,
    delivery: value.delivery === "first-ack" ? "first-ack" : "each-device",
    createdAtMs: typeof value.createdAtMs === "number" ? value.createdAtMs : 0,
    ...(value.limits === undefined ? {} : { limits: readLimits(value.limits) }),
    ...(value.events === undefined ? {} : { events: readEvents(value.events) }),
    ...(value.connect === undefined ? {} : { connect: readConnect(value.connect) }),
  };
}

function isSecret(value: unknown): value is { kid: string; secret: string } {
  return isMap(value) && typeof value.kid === "string" && typeof value.secret === "string";
}
