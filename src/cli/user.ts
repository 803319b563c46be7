/** `belfry user`: one user's session as its shard's owner holds it. */
import type { Command } from "commander";
import { refused } from "../base/result.js";
import { isMap } from "../protocol/codec.js";
import type { ErrorAnswer } from "../protocol/errors.js";
import type { DeskAnswer } from "../protocol/operator-desk.js";
import { shardOf } from "../protocol/shards.js";
import { encodeToken } from "../protocol/tokens.js";
import { readApp } from "./app-registry.js";
import { type Fleet, fullName, type NodeName, type ShardPlace } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { refuseUser } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, textAt } from "./report.js";
import { counted, headings, type Paint, table } from "./text.js";

export function declareUser(program: Command, invocation: Invocation): void {
  program
    .command("user")
    .summary("show a user's session, inbox and devices")
    .description("Prints a user's shard, owner, session, inbox and devices with what each acked.")
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user")
    .addHelpText("after", "\nExample:\n  belfry user demo alice --json")
    .action(async (app: string, uid: string) => {
      const badUser = refuseUser(app, uid);
      if (badUser !== undefined) invocation.print(badUser);
      else await invocation.withFleet((fleet) => user(fleet, app, uid));
    });
}

async function user(fleet: Fleet, app: string, uid: string): Promise<Outcome> {
  const registered = await readApp(await fleet.apps(), app);
  if (!registered.ok) return registered;
  let found = await look(fleet, app, uid);
  // It moved between the reading of the table and the question: the new table knows.
  if (found !== undefined && isMoved(found.answer)) found = await look(fleet, app, uid);
  const shard = shardOf(encodeToken(app), encodeToken(uid));
  if (found === undefined) {
    return { ...refused("NOT_READY", `nobody serves shard ${shard} now`), retryable: true };
  }
  const { answer, place, owner } = found;
  if (!answer.ok) return answer;
  const document = {
    app,
    uid,
    shard,
    owner: { nodeId: owner.nodeId, incarnation: owner.incarnation },
    epoch: place.epoch,
    ...(isMap(answer.value) ? answer.value : {}),
  };
  return report(document, (paint) => describe(document, paint));
}

interface Look {
  readonly place: ShardPlace;
  readonly owner: NodeName;
  readonly answer: DeskAnswer | ErrorAnswer;
}

async function look(fleet: Fleet, app: string, uid: string): Promise<Look | undefined> {
  const [appToken, uidToken] = [encodeToken(app), encodeToken(uid)];
  const { shards } = await fleet.placement();
  const place = shards[shardOf(appToken, uidToken)];
  const owner = place?.owner;
  if (place === undefined || owner === undefined) return undefined;
  const answer = await fleet.ask(owner, { kind: "user", app: appToken, uid: uidToken });
  return { place, owner, answer };
}

function isMoved(answer: DeskAnswer | ErrorAnswer): boolean {
  return !answer.ok && answer.code === "WRONG_SHARD";
}

function describe(
  document: { readonly app: string; readonly uid: string; readonly owner: NodeName },
  paint: Paint,
): string {
  const at = (...path: string[]) => numberAt(document, ...path);
  const messages = at("inbox", "messages");
  const inbox = messages === 0 ? "empty" : `${messages} messages, ${at("inbox", "bytes")} bytes`;
  const unread = textAt(document, "unread");
  const head = table(
    [
      ["user", { text: `${document.uid} of ${document.app}`, style: "bold" }],
      ["shard", `${at("shard")} on ${fullName(document.owner)}, epoch ${at("epoch")}`],
      ["generation", at("generation")],
      ["last seq", at("lastSeq")],
      ["inbox", unread === null ? inbox : { text: `cannot be read: ${unread}`, style: "red" }],
      // A node of before has no word on it.
      ["presence", textAt(document, "presence")],
    ],
    paint,
  );
  const devices = listAt(document, "devices");
  if (devices.length === 0) return `${head}\n\nno devices yet`;
  const rows = devices.map((device) => [
    textAt(device, "id"),
    textAt(device, "platform"),
    numberAt(device, "ackedSeq"),
    numberAt(device, "sentSeq"),
    numberAt(device, "unacked"),
    numberAt(device, "attempts") ?? 0,
    fieldAt(device, "isStalled") === true
      ? { text: "stalled", style: "red" as const }
      : (numberAt(device, "setAside") ?? 0),
    textAt(device, "connection"),
  ]);
  const titles = headings(
    ...["DEVICE", "PLATFORM", "ACKED", "SENT", "UNACKED", "ATTEMPTS", "SET ASIDE", "CONNECTION"],
  );
  return `${head}\n\n${counted(devices.length, "device")}\n${table([titles, ...rows], paint)}`;
}
