#!/usr/bin/env node
/** The command `belfry` (package.json, bin): src/cli with this process and NATS behind it. */
import { randomBytes } from "node:crypto";
import { runCommandLine } from "../cli/command-line.js";
import { JwtTokens } from "../drivers/jwt-tokens.js";
import { systemClock } from "../drivers/system-clock.js";
import { openBackups } from "./backup/backups.js";
import { migrateFrom } from "./migrate-from.js";
import { openNatsFleet } from "./nats-fleet.js";
import { isReservedAppName } from "./setup/nats-users.js";
import { version } from "./version.js";

// `belfry shards | head` closes the pipe early, which is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

try {
  process.exitCode = await runCommandLine(process.argv.slice(2), {
    version,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isTerminal: process.stdout.isTTY === true && (process.env["NO_COLOR"] ?? "") === "",
    clock: systemClock,
    randomBytes,
    // Signs only: it vouches for nobody, so it needs no app's secrets.
    signer: new JwtTokens({ find: () => undefined }),
    isReservedAppName,
    backups: openBackups(process.env),
    migrateStore: () => migrateFrom(process.env),
    openFleet: (settings) => openNatsFleet(settings, process.env),
  });
} catch (error) {
  process.stderr.write(`belfry: a bug of its own: ${(error as Error).stack ?? error}\n`);
  process.exitCode = 1;
}
