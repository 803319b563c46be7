/** `belfry directive`: what a user's connected clients are told to do. */
import { type Command, InvalidArgumentError } from "commander";
import { refused } from "../base/result.js";
import {
  type Directive,
  directiveEdgesMax,
  directiveSpreadMsMax,
  heartbeatMsRange,
  readDirective,
} from "../protocol/directive.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { refuseUser, wholeNumber } from "./names.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { numberAt } from "./report.js";
import { counted } from "./text.js";
import { askOwner } from "./user-owner.js";

interface ToDevice {
  readonly device?: string;
}

export function declareDirective(program: Command, invocation: Invocation): void {
  const directive = program
    .command("directive")
    .summary("tell a user's clients to leave, to move, to beat otherwise")
    .description(
      "Tells the clients of a user that are connected now, or one device's. Prints how many " +
        "connections the user has and how many of them were told; exit code 1 where an edge " +
        "did not confirm. Nothing is kept for a client that comes later.",
    );
  declareKick(directive, invocation);
  declareReconnect(directive, invocation);
  declareHeartbeat(directive, invocation);
  declareConfig(directive, invocation);
}

function declareKick(directive: Command, invocation: Invocation): void {
  ofUser(directive.command("kick"))
    .summary("have a user's clients leave and stay away")
    .description(
      "A client that is told goes, and stays away until a person or its app says otherwise; one " +
        "that is still there after 10 seconds is closed with 4507. A token that is still good " +
        "lets it in again.",
    )
    .requiredOption("--reason <text>", "what its app is told")
    .addHelpText("after", "\nExample:\n  belfry directive kick demo alice --reason 'signed out'")
    .action((app: string, uid: string, { reason, ...to }: ToDevice & { reason: string }) =>
      tell(invocation, app, uid, to, { do: "kick", reason }),
    );
}

function declareReconnect(directive: Command, invocation: Invocation): void {
  ofUser(directive.command("reconnect"))
    .summary("have a user's clients come back, perhaps elsewhere")
    .description("Tells a user's clients to connect anew; who does not go is closed with 4000.")
    .option("--edge <url...>", `ws:// or wss://, up to ${directiveEdgesMax}, in order`, [])
    .option(
      "--spread <ms>",
      "each draws a moment within so long",
      wholeNumber(0, directiveSpreadMsMax),
    )
    .addHelpText(
      "after",
      "\nExample:\n  belfry directive reconnect demo alice --edge wss://b.example.com/connect",
    )
    .action((app: string, uid: string, options: ToDevice & { edge: string[]; spread?: number }) => {
      const { edge, spread, ...to } = options;
      const edges = edge.map((url) => ({ url }));
      const window = spread === undefined ? {} : { spreadMs: spread };
      return tell(invocation, app, uid, to, { do: "reconnect", edges, ...window });
    });
}

function declareHeartbeat(directive: Command, invocation: Invocation): void {
  const { least, most } = heartbeatMsRange;
  ofUser(directive.command("heartbeat"))
    .summary("set how often a user's clients are asked whether they are there")
    .description(
      "Holds for as long as each connection lasts, whatever its client asks for; see belfry edges " +
        "heartbeat for all clients.",
    )
    .argument("<ms>", `${least} to ${most}`, wholeNumber(least, most))
    .addHelpText("after", "\nExample:\n  belfry directive heartbeat demo alice 60000")
    .action((app: string, uid: string, heartbeatMs: number, to: ToDevice) =>
      tell(invocation, app, uid, to, { do: "heartbeat", heartbeatMs }),
    );
}

function declareConfig(directive: Command, invocation: Invocation): void {
  ofUser(directive.command("config"))
    .summary("tell a user's clients that something they follow has changed")
    .description("Hands a value to the app on each of the user's clients; at most 4 KiB.")
    .argument("<json>", "the value", json)
    .addHelpText("after", `\nExample:\n  belfry directive config demo alice '{"document":"theme"}'`)
    .action((app: string, uid: string, { value }: { value: unknown }, to: ToDevice) =>
      tell(invocation, app, uid, to, { do: "config", config: value }),
    );
}

function ofUser(command: Command): Command {
  return command
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user")
    .option("--device <device>", "only this device of the user");
}

/** Wrapped: commander takes `undefined` and the like for no argument. */
function json(text: string): { value: unknown } {
  try {
    return { value: JSON.parse(text) };
  } catch {
    throw new InvalidArgumentError("It is JSON.");
  }
}

async function tell(
  invocation: Invocation,
  app: string,
  uid: string,
  { device }: ToDevice,
  directive: Directive,
): Promise<void> {
  const badUser = refuseUser(app, uid);
  if (badUser !== undefined) {
    invocation.print(badUser);
  } else if (readDirective(directive) === undefined) {
    invocation.print(refused("USAGE", "what is to be told is too long, or empty"));
  } else {
    const toDevice = device === undefined ? {} : { device };
    await invocation.withFleet((fleet) => tellOwner(fleet, app, uid, { directive, ...toDevice }));
  }
}

async function tellOwner(
  fleet: Fleet,
  app: string,
  uid: string,
  order: ToDevice & { readonly directive: Directive },
): Promise<Outcome> {
  const answer = await askOwner(fleet, app, uid, { kind: "directive", ...order });
  if (!answer.ok) return answer;
  const connections = numberAt(answer.value, "connections") ?? 0;
  const told = numberAt(answer.value, "told") ?? 0;
  const document = { app, uid, ...order, connections, told };
  const isAll = told === connections;
  return report(
    document,
    () => {
      if (connections === 0) return `nobody is connected as ${uid} of ${app}`;
      const whole = counted(connections, "connection");
      return isAll ? `${whole} told` : `${told} of ${whole} told`;
    },
    isAll ? exitCodes.done : exitCodes.refused,
  );
}
