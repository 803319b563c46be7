/**
 * The command `belfry`: its words, and what it does with words that it does not know.
 *
 * Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered.
 */
import { Command, CommanderError, Option } from "commander";
import { refused } from "../base/result.js";
import { declareActor } from "./actor.js";
import { declareApp } from "./app-commands.js";
import { declareAppReach } from "./app-reach.js";
import { declareBackup } from "./backup.js";
import { declareDirective } from "./directive.js";
import { declareDispatcher } from "./dispatcher.js";
import { declareDrain } from "./drain.js";
import { declareEdges } from "./edges.js";
import { declareInbox } from "./inbox.js";
import { type CliWorld, Invocation } from "./invocation.js";
import { declareLane } from "./lane.js";
import { declareMessage } from "./message.js";
import { declareMigrate } from "./migrate.js";
import { secondsAsMs } from "./names.js";
import { declareNodes } from "./nodes.js";
import { exitCodes, report } from "./outcome.js";
import { declarePlacement } from "./placement.js";
import { declarePush } from "./push.js";
import { declareRebalance } from "./rebalance.js";
import { declareShards } from "./shards.js";
import { declareStatus } from "./status.js";
import { declareToken } from "./token.js";
import { declareTopology } from "./topology.js";
import { declareUser } from "./user.js";

const timeoutMsDefault = 5_000;
const timeoutSecondsMax = 300;

/** Runs one command to its end; resolves to the exit code. Throws for bugs only. */
export async function runCommandLine(args: readonly string[], world: CliWorld): Promise<number> {
  const said: string[] = [];
  const program = makeProgram(world, (text) => said.push(text));
  const invocation = new Invocation(world, program, asksForJson(args));
  for (const declare of [
    ...[declarePush, declareStatus, declareTopology, declareActor],
    ...[declareUser, declareInbox, declareApp, declareToken, declareMigrate],
    ...[declareMessage, declareAppReach, declareBackup],
    ...[declareNodes, declareShards, declarePlacement, declareDrain, declareRebalance],
    ...[declareLane, declareEdges, declareDispatcher],
    declareDirective,
  ]) {
    declare(program, invocation);
  }
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    onStoppedEarly(error, said.join(""), invocation, asksForJson(args));
  }
  return invocation.exitCode;
}

function makeProgram(world: CliWorld, say: (text: string) => void): Command {
  const program = new Command("belfry");
  return program
    .description("Operates Belfry, a push platform.")
    .version(world.version, "-V, --version", "print the version")
    .option("--json", "print one JSON document")
    .option("--nats-url <url>", "the NATS server (NATS_URL; else the one of make run)")
    .option("--user <name>", "NATS user (BELFRY_NATS_USER)")
    .option("--password-file <file>", "holds its password (BELFRY_NATS_PASSWORD_FILE)")
    .addOption(
      new Option("--timeout <seconds>", "how long to wait for each answer")
        .argParser(secondsAsMs(timeoutSecondsMax))
        .default(timeoutMsDefault, "5"),
    )
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: say, writeErr: say })
    .addHelpText(
      "after",
      `
Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered.

Example:
  belfry push demo alice '{"text":"hello"}'`,
    )
    .exitOverride();
}

/** Help and version were asked for; everything else was wrong usage. */
function onStoppedEarly(
  error: CommanderError,
  said: string,
  invocation: Invocation,
  isJson: boolean,
): void {
  const { world } = invocation;
  switch (error.code) {
    case "commander.version":
      invocation.print(report({ version: world.version }, () => world.version));
      return;
    case "commander.helpDisplayed":
      invocation.print(report({ help: said }, () => said.trimEnd()));
      return;
    case "commander.help":
      // A command is missing: the help is the answer to a mistake.
      refuseUsage(invocation, isJson, "a command is missing", said);
      return;
    default: {
      const text = said.replace(/^error: /, "");
      const message = error.message.replace(/^error: /, "");
      refuseUsage(invocation, isJson, message, `belfry: ${text}Try: belfry --help\n`);
    }
  }
}

function refuseUsage(invocation: Invocation, isJson: boolean, message: string, text: string): void {
  invocation.exitCode = exitCodes.usage;
  if (isJson) invocation.print(refused("USAGE", message));
  else invocation.world.err(text);
}

/** Looked for before parsing, which may fail. */
function asksForJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end < 0 ? args : args.slice(0, end)).includes("--json");
}
