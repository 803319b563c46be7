/**
 * Which NATS server the command line talks to, and as whom.
 *
 * Flags come before the environment, and the environment before what `make run`
 * noted in its `running.json`, whose operator is taken for that very server only.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { accepted, Fault, type Result, refused } from "../base/result.js";
import type { FleetSettings } from "../cli/fleet.js";
import { appUser, operatorUser } from "./setup/nats-users.js";

export interface NatsAccess {
  readonly url: string;
  readonly user?: string;
  readonly password?: string;
  readonly inboxPrefix?: string;
  /** The folder of the server, where `make run` of this checkout owns it. */
  readonly privateFolder?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** What is read of the note that `make run` leaves while it runs. */
const runningShape = z.object({
  natsUrl: z.string(),
  /** Of the private server. */
  natsFolder: z.string().optional(),
  operator: z.object({ user: z.string(), pass: z.string(), inboxPrefix: z.string() }).optional(),
});

/** This file runs as dist/src/main/nats-access.js. */
const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));

/** Throws Fault("NOT_RUNNING", "not-done") when nothing names a server. */
export function findNatsAccess(
  settings: FleetSettings,
  environment: Environment,
): Result<NatsAccess, "USAGE"> {
  const home = findHome(environment);
  const running = readRunning(join(home, "running.json"));
  const url = settings.natsUrl ?? given(environment, "NATS_URL") ?? running?.natsUrl;
  if (url === undefined) {
    throw new Fault(
      "NOT_RUNNING",
      "not-done",
      `nothing runs from ${home}: is it running? make run`,
    );
  }
  const operator = url === running?.natsUrl ? running.operator : undefined;
  const owned =
    operator === undefined ? {} : { privateFolder: running?.natsFolder ?? join(home, "nats") };
  const user = settings.user ?? given(environment, "BELFRY_NATS_USER");
  if (user === undefined && operator !== undefined) {
    const { user, pass, inboxPrefix } = operator;
    return accepted({ url, user, password: pass, inboxPrefix, ...owned });
  }
  const file = settings.passwordFile ?? given(environment, "BELFRY_NATS_PASSWORD_FILE");
  const password = file === undefined ? accepted(undefined) : readPassword(file);
  if (!password.ok) return password;
  return accepted({
    url,
    ...(user === undefined ? {} : { user, ...inboxPrefixOf(user) }),
    ...(password.value === undefined ? {} : { password: password.value }),
    ...owned,
  });
}

function given(environment: Environment, name: string): string | undefined {
  const value = environment[name];
  return value === "" ? undefined : value;
}

/** Where `make run` keeps its things: of this checkout, unless the folder one stands in has some. */
function findHome(environment: Environment): string {
  const named = given(environment, "BELFRY_HOME");
  if (named !== undefined) return resolve(named);
  const here = resolve(".belfry");
  return existsSync(join(here, "running.json")) ? here : join(projectRoot, ".belfry");
}

/** Undefined as well for a note that another version wrote. */
function readRunning(file: string): z.infer<typeof runningShape> | undefined {
  try {
    return runningShape.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch {
    return undefined;
  }
}

function readPassword(file: string): Result<string, "USAGE"> {
  try {
    return accepted(readFileSync(file, "utf8").trim());
  } catch (error) {
    return refused("USAGE", `the password file is not readable: ${(error as Error).message}`);
  }
}

/** The users of nats.conf may listen under their own prefix only; of others nothing is known. */
function inboxPrefixOf(user: string): { inboxPrefix?: string } {
  const [, role, name] = /^(operator|app)-([A-Za-z0-9_-]+)$/.exec(user) ?? [];
  if (user === "node") return { inboxPrefix: "_INBOX_node" };
  if (role === undefined || name === undefined) return {};
  const { inboxPrefix } = role === "app" ? appUser(name, "") : operatorUser(name, "");
  return { inboxPrefix };
}
