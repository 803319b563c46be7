/**
 * The passwords of a private server's users: made once, kept in a file of mode
 * 0600 beside the server's data, and extended when an app is added.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import type { NatsUsersSpec } from "./nats-users.js";

const secretsFile = z.object({
  version: z.literal(1),
  node: z.string().min(1),
  operators: z.record(z.string(), z.string().min(1)),
  apps: z.record(z.string(), z.string().min(1)),
});

type Secrets = z.infer<typeof secretsFile>;

/** Those who must have a password; each keeps the one that it has. */
export interface WantedUsers {
  readonly operators: readonly string[];
  readonly apps: readonly string[];
}

/** Reads the file, adds who is missing, and writes it back when it changed. */
export async function ensureSecrets(file: string, wanted: WantedUsers): Promise<NatsUsersSpec> {
  const before = await readSecrets(file);
  const secrets: Secrets = {
    version: 1,
    node: before?.node ?? makePassword(),
    operators: withPasswords(before?.operators, wanted.operators),
    apps: withPasswords(before?.apps, wanted.apps),
  };
  if (JSON.stringify(secrets) !== JSON.stringify(before)) {
    await writePrivately(file, `${JSON.stringify(secrets, null, 2)}\n`);
  }
  return {
    nodePassword: secrets.node,
    operators: entries(secrets.operators).map(([name, password]) => ({ name, password })),
    apps: entries(secrets.apps).map(([app, password]) => ({ app, password })),
  };
}

/** Writes a file that only this user may read, whole or not at all. */
export async function writePrivately(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const beside = `${file}.${process.pid}`;
  await writeFile(beside, text, { mode: 0o600 });
  await rename(beside, file);
}

async function readSecrets(file: string): Promise<Secrets | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  return secretsFile.parse(JSON.parse(text));
}

function withPasswords(
  before: Readonly<Record<string, string>> | undefined,
  wanted: readonly string[],
): Record<string, string> {
  const all = new Map(Object.entries(before ?? {}));
  for (const name of wanted) if (!all.has(name)) all.set(name, makePassword());
  return Object.fromEntries(all);
}

function entries(record: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(record);
}

/** 192 bits, in hexadecimal: nothing in it that a configuration would read as its own. */
export function makePassword(): string {
  return randomBytes(24).toString("hex");
}
