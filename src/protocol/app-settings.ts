/**
 * What an app may be set to beside its secrets: its limits, and the events it is told.
 * All of it is optional in the record: what is absent has the platform's default, and
 * what a newer version wrote is kept by an older one that changes something else.
 */
import { isMap } from "./codec.js";

/** Each absent one is unlimited, but for what the platform itself can bear. */
export interface AppLimits {
  /** Of all its users together, in one IDC. */
  readonly pushesPerSecond?: number;
  /** Below the platform's own limit of a user, which stands in any case. */
  readonly pushesPerSecondPerUser?: number;
  /** Of all its devices, in one IDC. */
  readonly connections?: number;
  /** Stored for all its users together, in one IDC. */
  readonly inboxBytes?: number;
  /** Stored for one user; below the platform's bound, which stands in any case. */
  readonly inboxMessages?: number;
  /** At a user's bound: the new message is refused, or the oldest one leaves. */
  readonly onFull?: "refuse" | "drop-oldest";
}

export type LimitName = Exclude<keyof AppLimits, "onFull">;

/** The highest value that each may be set to. */
export const limitsMax: Readonly<Record<LimitName, number>> = {
  pushesPerSecond: 10_000_000,
  // The platform's own limit of a user.
  pushesPerSecondPerUser: 1_000,
  connections: 100_000_000,
  inboxBytes: 2 ** 50,
  inboxMessages: 1_000_000,
};

export const limitNames = Object.keys(limitsMax) as readonly LimitName[];

/** Which events its services are told; absent is none, and what nobody wants costs nothing. */
export interface AppEvents {
  /** All of them, none, or those in the list. */
  readonly receipts?: boolean | readonly string[];
  readonly presence?: boolean;
}

/** What does not read counts as absent; what is not known is kept. */
export function readLimits(value: unknown): AppLimits {
  if (!isMap(value)) return {};
  const { onFull, ...others } = value;
  for (const name of limitNames) if (!isLimit(name, others[name])) delete others[name];
  const isPolicy = onFull === "refuse" || onFull === "drop-oldest";
  return isPolicy ? { ...others, onFull } : others;
}

export function readEvents(value: unknown): AppEvents {
  if (!isMap(value)) return {};
  const { receipts, presence, ...others } = value;
  return {
    ...others,
    ...(isReceipts(receipts) ? { receipts } : {}),
    ...(typeof presence === "boolean" ? { presence } : {}),
  };
}

/** A whole number from 0; 0 is a limit that lets nothing through. */
export function isLimit(name: LimitName, value: unknown): value is number {
  return (
    Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= limitsMax[name]
  );
}

function isReceipts(value: unknown): value is boolean | readonly string[] {
  if (typeof value === "boolean") return true;
  return Array.isArray(value) && value.every((kind) => typeof kind === "string");
}

/** With what is absent. */
export function eventsOf(record: { readonly events?: AppEvents }): Required<AppEvents> {
  const { receipts = false, presence = false } = record.events ?? {};
  return { receipts, presence };
}
