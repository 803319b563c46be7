/** The command line as an operator of a test's platform runs it. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Platform } from "./platform.js";

/** This file runs as dist/test/support/belfry-command.js. */
const program = fileURLToPath(new URL("../../src/main/belfry.js", import.meta.url));

export interface Said {
  readonly exitCode: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is in it.
  readonly document: any;
}

export async function belfry(platform: Platform, ...args: string[]): Promise<Said> {
  const { user, pass } = platform.nats.credentials.user("operator-test");
  const passwordFile = join(platform.folder, "operator.password");
  await writeFile(passwordFile, pass, { mode: 0o600 });
  const access = ["--nats-url", platform.nats.url, "--user", user];
  const all = [program, ...args, "--json", ...access, "--password-file", passwordFile];
  return new Promise((resolve) => {
    execFile(process.execPath, all, (error, out) => {
      const exitCode = error === null ? 0 : Number(error.code);
      resolve({ exitCode, document: JSON.parse(out) });
    });
  });
}
