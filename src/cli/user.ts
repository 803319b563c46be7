/** `belfry user`: one user's session as its shard's owner holds it. */
import type { Command } from "commander";
import { isMap } from "../protocol/codec.js";
import { type Fleet, fullName, type NodeName } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { refuseUser } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { fieldAt, listAt, numberAt, textAt } from "./report.js";
import { counted, headings, type Paint, table } from "./text.js";
import { askOwner } from "./user-owner.js";

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
  const answer = await askOwner(fleet, app, uid, { kind: "user" });
  if (!answer.ok) return answer;
  const { shard, place, owner, value } = answer;
  const document = {
    app,
    uid,
    shard,
    owner: { nodeId: owner.nodeId, incarnation: owner.incarnation },
    epoch: place.epoch,
    ...(isMap(value) ? value : {}),
  };
  return report(document, (paint) => describe(document, paint));
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
      ["presence", presenceOf(document)],
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
    textAt(device, "app"),
  ]);
  const titles = headings(
    ...[
      "DEVICE",
      "PLATFORM",
      "ACKED",
      "SENT",
      "UNACKED",
      "ATTEMPTS",
      "SET ASIDE",
      "CONNECTION",
      "APP",
    ],
  );
  return `${head}\n\n${counted(devices.length, "device")}\n${table([titles, ...rows], paint)}`;
}

/** What is so, and what the app's services were told last. */
function presenceOf(document: object): string | null {
  const presence = textAt(document, "presence");
  const app = textAt(document, "appState");
  const announced = textAt(document, "announced");
  if (presence === null) return null;
  const looked = app === null ? "" : app === "front" ? ", app in front" : ", app in the background";
  return `${presence}${looked}${announced === null ? "" : ` (told: ${announced})`}`;
}
