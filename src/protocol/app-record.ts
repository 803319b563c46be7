/** An app as the registry (KV bucket `apps`, one key per encoded name) holds it. */
import { isMap } from "./codec.js";
import { type EventWishes, readWishes } from "./service-event.js";

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
  /** Which events its services are told; absent is none. */
  readonly events?: EventWishes;
  readonly limits?: AppLimits;
}

export interface AppLimits {
  /** Stored for one user; below the platform's bound, which stands in any case. */
  readonly inboxMessages?: number;
  /** At a user's bound: the new message is refused, or the oldest one leaves. */
  readonly onFull?: "refuse" | "drop-oldest";
}

export function encodeAppRecord(record: AppRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record));
}

/** Undefined for bytes that are no app record of a version this node knows. */
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
  const events = readWishes(value.events);
  return {
    v: appRecordVersion,
    app: value.app,
    secrets,
    delivery: value.delivery === "first-ack" ? "first-ack" : "each-device",
    createdAtMs: typeof value.createdAtMs === "number" ? value.createdAtMs : 0,
    ...(events === undefined ? {} : { events }),
    ...(isMap(value.limits) ? { limits: readLimits(value.limits) } : {}),
  };
}

/** What does not read counts as absent. */
function readLimits({ inboxMessages, onFull }: Record<string, unknown>): AppLimits {
  const isCount = Number.isSafeInteger(inboxMessages) && (inboxMessages as number) >= 0;
  const isPolicy = onFull === "refuse" || onFull === "drop-oldest";
  return {
    ...(isCount ? { inboxMessages: inboxMessages as number } : {}),
    ...(isPolicy ? { onFull } : {}),
  };
}

function isSecret(value: unknown): value is { kid: string; secret: string } {
  return isMap(value) && typeof value.kid === "string" && typeof value.secret === "string";
}
