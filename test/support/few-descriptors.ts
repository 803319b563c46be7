/** What is run in place of Node where a process is to have few descriptors. */
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";

export async function withDescriptors(folder: string, descriptors: number): Promise<string> {
  const program = join(folder, `node-with-${descriptors}.sh`);
  const script = `#!/bin/sh\nulimit -n ${descriptors}\nexec "${process.execPath}" "$@"\n`;
  await writeFile(program, script);
  await chmod(program, 0o700);
  return program;
}
