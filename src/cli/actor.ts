/** `belfry actor`: what one actor says of itself. */
import type { Command } from "commander";
import { refused } from "../base/result.js";
import { type Fleet, fullName } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { findNode } from "./names.js";
import { type Outcome, report } from "./outcome.js";
import { fields } from "./text.js";

export function declareActor(program: Command, invocation: Invocation): void {
  program
    .command("actor")
    .summary("look into one actor")
    .description("Prints one actor's state, mailbox, restarts, children by kind and own figures.")
    .argument("<address>", "<node>/<path> as topology prints it; the incarnation may be left out")
    .addHelpText("after", "\nExample:\n  belfry actor dc1-a/shards")
    .action(async (address: string) => {
      const slash = address.indexOf("/");
      if (slash < 1 || slash === address.length - 1) {
        invocation.print(refused("USAGE", `an address is <node>/<path>, not ${address}`));
        return;
      }
      const [node, path] = [address.slice(0, slash), address.slice(slash + 1)];
      await invocation.withFleet((fleet) => actor(fleet, node, path));
    });
}

async function actor(fleet: Fleet, name: string, path: string): Promise<Outcome> {
  const found = findNode(await fleet.placement(), name);
  if (!found.ok) return found;
  const address = `${fullName(found.value)}/${path}`;
  const answer = await fleet.ask(found.value, { kind: "actor", address });
  if (!answer.ok) return answer;
  return report(answer.value, () => fields(answer.value));
}
