/** `belfry app set`: the limits of an app and the events it is told, each by its own flag. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { refused } from "../base/result.js";
import { type AppConnect, isConnectUrl } from "../protocol/app-connect.js";
import { type AppRecord, encodeAppRecord } from "../protocol/app-record.js";
import {
  type AppEvents,
  type AppLimits,
  eventsOf,
  isLimit,
  type LimitName,
  limitNames,
  limitsMax,
} from "../protocol/app-settings.js";
import { receiptKinds } from "../protocol/service-event.js";
import { encodeToken } from "../protocol/tokens.js";
import { readApp } from "./app-registry.js";
import type { Fleet } from "./fleet.js";
import { type Outcome, report } from "./outcome.js";
import { type Row, table } from "./text.js";

/** `none`: as the platform has it. */
type LimitFlag = number | "none";

export type SettingFlags = { readonly [Name in LimitName]?: LimitFlag } & {
  readonly onFull?: "refuse" | "drop-oldest";
  readonly receipts?: boolean | readonly string[];
  readonly presence?: "on" | "off";
  readonly delivery?: AppRecord["delivery"];
  readonly connectUrl?: string;
};

const meanings: Readonly<Record<LimitName, string>> = {
  pushesPerSecond: "pushes a second of all its users together",
  pushesPerSecondPerUser: "pushes a second of each user",
  connections: "connections of all its devices together",
  inboxBytes: "bytes stored for all its users together",
  inboxMessages: "messages stored for each user",
};

export function addSettingFlags(command: Command): Command {
  for (const name of limitNames) {
    const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const text = `${meanings[name]}, or none for the platform's own bound`;
    command.addOption(new Option(`--${flag} <n>`, text).argParser(readLimit(name)));
  }
  const policies = ["refuse", "drop-oldest"];
  const deliveries = ["each-device", "first-ack"];
  const webhook = "who is asked whether a client is let in, or none: tokens of the app's secret";
  const receipts = "which receipts are told as events: all, none, or kinds with commas between";
  return command
    .addOption(new Option("--on-full <policy>", "at a user's bound of messages").choices(policies))
    .addOption(new Option("--receipts <kinds>", receipts).argParser(readReceipts))
    .addOption(new Option("--presence <state>", "tell who comes and goes").choices(["on", "off"]))
    .addOption(new Option("--delivery <policy>", "when an entry goes").choices(deliveries))
    .addOption(new Option("--connect-url <url>", webhook).argParser(readConnectUrl));
}

function readConnectUrl(text: string): string {
  if (text === "none" || isConnectUrl(text)) return text;
  throw new InvalidArgumentError(
    "It is none, or an http or https URL without user, password and fragment.",
  );
}

function readLimit(name: LimitName): (text: string) => LimitFlag {
  return (text) => {
    if (text === "none") return text;
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!isLimit(name, value)) {
      throw new InvalidArgumentError(`It is none, or a whole number from 0 to ${limitsMax[name]}.`);
    }
    return value;
  };
}

function readReceipts(text: string): boolean | readonly string[] {
  if (text === "all") return true;
  if (text === "none") return false;
  const kinds = text.split(",");
  const known: readonly string[] = receiptKinds;
  if (!kinds.every((kind) => known.includes(kind))) {
    throw new InvalidArgumentError(`It is all, none, or of ${receiptKinds.join(", ")}.`);
  }
  return [...new Set(kinds)];
}

export async function setApp(fleet: Fleet, app: string, flags: SettingFlags): Promise<Outcome> {
  if (Object.keys(flags).length === 0) return refused("USAGE", "name at least one setting");
  const apps = await fleet.apps();
  const found = await readApp(apps, app);
  if (!found.ok) return found;
  const { record, revision } = found.value;
  const changed = withSettings(record, flags);
  const updated = await apps.update(encodeToken(app), encodeAppRecord(changed), revision);
  if (!updated.ok) return refused("CONFLICT", `somebody else changed app ${app} just now`);
  const document = { app, ...describeSettings(changed) };
  return report(document, (paint) =>
    table([["app", { text: app, style: "bold" }], ...settingRows(changed)], paint),
  );
}

/** What no flag names stays as it was, and so does what is not known here. */
export function withSettings(record: AppRecord, flags: SettingFlags): AppRecord {
  const limits: Record<string, unknown> = { ...record.limits };
  for (const name of limitNames) {
    const flag = flags[name];
    if (flag === "none") delete limits[name];
    else if (flag !== undefined) limits[name] = flag;
  }
  const { onFull, receipts, presence, delivery, connectUrl } = flags;
  if (onFull !== undefined) limits["onFull"] = onFull;
  const events: AppEvents = {
    ...record.events,
    ...(receipts === undefined ? {} : { receipts }),
    ...(presence === undefined ? {} : { presence: presence === "on" }),
  };
  const { connect, ...others } = delivery === undefined ? record : { ...record, delivery };
  const asked = connectWith(connect, connectUrl);
  return {
    ...others,
    limits: limits as AppLimits,
    events,
    ...(asked === undefined ? {} : { connect: asked }),
  };
}

function connectWith(before: AppConnect | undefined, url: string | undefined) {
  if (url === undefined) return before;
  return url === "none" ? undefined : { ...before, url };
}

/** Null is the platform's own. */
export function describeSettings(record: AppRecord) {
  const { limits = {}, delivery } = record;
  const { receipts, presence } = eventsOf(record);
  const numbers = limitNames.map((name) => [name, limits[name] ?? null] as const);
  return {
    delivery,
    limits: {
      ...(Object.fromEntries(numbers) as Record<LimitName, number | null>),
      onFull: limits.onFull ?? null,
    },
    events: { receipts, presence },
    connectUrl: record.connect?.url ?? null,
  };
}

export function settingRows(record: AppRecord): Row[] {
  const { delivery, limits, events, connectUrl } = describeSettings(record);
  const { receipts, presence } = events;
  const kinds = typeof receipts === "boolean" ? (receipts ? "all" : "none") : receipts.join(", ");
  return [
    ["delivery", delivery],
    ["pushes/s", limits.pushesPerSecond],
    ["pushes/s per user", limits.pushesPerSecondPerUser],
    ["connections", limits.connections],
    ["inbox bytes", limits.inboxBytes],
    ["inbox messages per user", limits.inboxMessages],
    ["on full", limits.onFull],
    ["receipts", kinds],
    ["presence", presence ? "on" : "off"],
    ["connect URL", connectUrl],
  ];
}
