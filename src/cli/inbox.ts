/** `belfry inbox`: what waits for one user; taking messages back, erasing the user. */
import type { Command } from "commander";
import { refused } from "../base/result.js";
import type { InboxListed } from "../protocol/inbox-answer.js";
import {
  decodeInboxRequest,
  type InboxRequest,
  listLimitDefault,
  listLimitMax,
} from "../protocol/inbox-request.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { refuseUser, wholeNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { counted, headings, type Paint, table } from "./text.js";

interface ListOptions {
  readonly after?: number;
  readonly limit: number;
}

interface RecallOptions {
  readonly id?: string;
  readonly collapse?: string;
}

export function declareInbox(program: Command, invocation: Invocation): void {
  const inbox = program
    .command("inbox")
    .summary("list a user's inbox, recall messages, erase the user")
    .description("Lists what waits for a user, takes messages back, erases the user.");
  declareList(inbox, invocation);
  declareRecall(inbox, invocation);
  declareErase(inbox, invocation);
}

function declareList(inbox: Command, invocation: Invocation): void {
  inbox
    .command("ls")
    .summary("list what waits for a user")
    .description("Lists the messages that wait for a user, and how far each device is.")
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user")
    .option("--after <seq>", "only what is above", wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .option("--limit <count>", "at most so many", wholeNumber(1, listLimitMax), listLimitDefault)
    .addHelpText("after", "\nExample:\n  belfry inbox ls demo alice --limit 20")
    .action((app: string, uid: string, { after = 0, limit }: ListOptions) =>
      ask(invocation, app, uid, { op: "list", after, limit }, (answer) => {
        const listed = answer as InboxListed;
        return report(listed, (paint) => describe(listed, invocation.world.clock.wallMs(), paint));
      }),
    );
}

function declareRecall(inbox: Command, invocation: Invocation): void {
  inbox
    .command("recall")
    .summary("take messages back")
    .description("Takes a message back by its id, or all that wait under a collapse key.")
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user")
    .option("--id <msgId>", "the id that the push was answered with")
    .option("--collapse <key>", "all that wait under this key")
    .addHelpText("after", "\nExample:\n  belfry inbox recall demo alice --id 0DGZRG3G80100001")
    .action(async (app: string, uid: string, options: RecallOptions) => {
      const request = { op: "recall", ...options };
      const read = decodeInboxRequest(new TextEncoder().encode(JSON.stringify(request)));
      if (!read.ok) {
        invocation.print(refused("USAGE", read.message));
        return;
      }
      await ask(invocation, app, uid, read.value, (answer) => {
        const { recalled } = answer as { readonly recalled: readonly string[] };
        const text = recalled.length === 0 ? "nothing of it waits" : recalled.join("\n");
        return report(answer, () => text);
      });
    });
}

function declareErase(inbox: Command, invocation: Invocation): void {
  inbox
    .command("erase")
    .summary("erase a user: inbox, devices, cursors, keys")
    .description(
      "Erases a user: inbox, devices, cursors, idempotency keys. Connections are closed, and " +
        "nothing brings it back.",
    )
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user")
    .option("--yes", "it is meant so")
    .addHelpText("after", "\nExample:\n  belfry inbox erase demo alice --yes")
    .action(async (app: string, uid: string, { yes }: { readonly yes?: true }) => {
      if (yes !== true) {
        invocation.print(refused("USAGE", `say --yes to erase ${uid} of ${app} for good`));
        return;
      }
      await ask(invocation, app, uid, { op: "erase" }, (answer) => {
        const { messages, devices } = answer as { messages: number; devices: number };
        const lost = `${counted(messages, "message")}, ${counted(devices, "device")}`;
        return report(answer, () => `erased, with ${lost}`);
      });
    });
}

async function ask(
  invocation: Invocation,
  app: string,
  uid: string,
  request: InboxRequest,
  show: (answer: object) => Outcome,
): Promise<void> {
  const badUser = refuseUser(app, uid);
  if (badUser !== undefined) {
    invocation.print(badUser);
    return;
  }
  await invocation.withFleet(async (fleet: Fleet) => {
    const answer = await fleet.inbox(app, uid, request);
    return answer.ok ? show(answer) : answer;
  });
}

function describe(listed: InboxListed, nowMs: number, paint: Paint): string {
  const { messages, bytes, entries, more, devices, presence } = listed;
  const head = `${counted(messages, "message")}, ${bytes} bytes; ${presence}`;
  const rows = entries.map((entry) => [
    entry.seq,
    entry.id,
    entry.type ?? null,
    entry.bytes,
    `${Math.max(0, Math.round((entry.expiresAtMs - nowMs) / 1_000))}s`,
    entry.collapse ?? null,
    entry.target?.device ?? entry.target?.platform ?? null,
  ]);
  const titles = headings("SEQ", "ID", "TYPE", "BYTES", "EXPIRES", "COLLAPSE", "TARGET");
  const list = rows.length === 0 ? "" : `\n\n${table([titles, ...rows], paint)}`;
  const rest = more ? `\nmore: --after ${entries.at(-1)?.seq}` : "";
  const seen = devices.map((device) => [
    device.id,
    device.platform,
    device.acked,
    device.unacked,
    device.attempts,
    device.stalled ? { text: "stalled", style: "red" as const } : device.setAside,
    device.connected ? "yes" : "no",
  ]);
  const names = ["DEVICE", "PLATFORM", "ACKED", "UNACKED", "ATTEMPTS", "SET ASIDE", "CONNECTED"];
  const known = seen.length === 0 ? "" : `\n\n${table([headings(...names), ...seen], paint)}`;
  return `${head}${list}${rest}${known}`;
}
