/**
 * An app's user on the bus. `make run` owns its private server and gives every app
 * that is registered a user by itself; this waits until that has happened. On any
 * other server its operator has to, and is told what.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Fault } from "../base/result.js";
import type { NatsUserGrant } from "../cli/fleet.js";
import { connectNats } from "../drivers/nats-connection.js";
import type { NatsAccess } from "./nats-access.js";
import { appUser, type NatsUser } from "./setup/nats-users.js";

const probeEveryMs = 50;

export async function grantNatsUser(
  access: NatsAccess,
  app: string,
  deadlineMs: number,
): Promise<NatsUserGrant> {
  const { privateFolder } = access;
  if (privateFolder === undefined) {
    return { state: "yours-to-add", block: renderBlock(appUser(app, makePassword())) };
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

/** NATS's configuration takes JSON as it is. */
function renderBlock(user: NatsUser): string {
  const block = {
    user: user.user,
    password: user.password,
    permissions: {
      publish: { allow: user.publish },
      subscribe: { allow: user.subscribe },
      ...(user.mayAnswer ? { allow_responses: { max: 1, expires: "30s" } } : {}),
    },
  };
  const answers = `# The user "node" must also be allowed to publish "${user.inboxPrefix}.>".`;
  return `${answers}\n${JSON.stringify(block, null, 2)}`;
}

function makePassword(): string {
  return randomBytes(24).toString("hex");
}
