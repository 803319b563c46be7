/**
 * An app's user on the bus. `make run` owns its private server and gives every app
 * that is registered a user by itself; this waits until that has happened. On any
 * other server its operator has to, and is told what.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Fault } from "../base/result.js";
import type { NatsUserGrant } from "../cli/fleet.js";
import { connectNats } from "../drivers/nats-connection.js";
import type { NatsAccess } from "./nats-access.js";
import { appEntries } from "./setup/nats-accounts.js";
import { makePassword } from "./setup/nats-secrets.js";
import { appUser, type NatsUser } from "./setup/nats-users.js";

const probeEveryMs = 50;

export async function grantNatsUser(
  access: NatsAccess,
  app: string,
  deadlineMs: number,
): Promise<NatsUserGrant> {
  const { privateFolder } = access;
  if (privateFolder === undefined) {
    return { state: "yours-to-add", block: renderBlock(app) };
  }
  const endMs = performance.now() + deadlineMs;
  do {
    const password = await readAppPassword(join(privateFolder, "secrets.json"), app);
    // The server knows the user only once it has read its configuration again.
    if (password !== undefined && (await isTaken(access.url, appUser(app, password)))) {
      const { user, inboxPrefix } = appUser(app, password);
      return { state: "added", user, password, inboxPrefix };
    }
    await delay(probeEveryMs);
  } while (performance.now() < endMs);
  const message = "make run has not made it in time; it makes it when it is started again";
  return { state: "failed", message };
}

async function readAppPassword(file: string, app: string): Promise<string | undefined> {
  try {
    const { apps } = JSON.parse(await readFile(file, "utf8")) as { apps: Record<string, string> };
    return Object.hasOwn(apps, app) ? apps[app] : undefined;
  } catch {
    return undefined;
  }
}

async function isTaken(url: string, { user, password, inboxPrefix }: NatsUser): Promise<boolean> {
  try {
    const name = "belfry: is the user there?";
    await (await connectNats({ url, name, user, password, inboxPrefix })).close();
    return true;
  } catch (error) {
    if (error instanceof Fault) return false;
    throw error;
  }
}

function renderBlock(app: string): string {
  const { account, uplinks } = appEntries(app, appUser(app, makePassword()));
  return [
    "# Among the accounts (apps.conf):",
    account,
    "# Among the imports of the account CORE (users.conf):",
    uplinks,
  ].join("\n");
}
