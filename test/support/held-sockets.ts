/** The sockets that a process holds, as Linux tells it. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const closeWait = "08";

export interface HeldSockets {
  /** Of any kind. */
  readonly held: number;
  /** Whose peers are done while this process is not. */
  readonly closeWait: number;
}

export function heldSockets(pid: number): HeldSockets {
  const inodes = socketInodes(pid);
  const states = ["tcp", "tcp6"].flatMap((table) => statesIn(`/proc/${pid}/net/${table}`));
  const waiting = states.filter(([inode, state]) => state === closeWait && inodes.has(inode));
  return { held: inodes.size, closeWait: waiting.length };
}

function socketInodes(pid: number): Set<string> {
  const folder = `/proc/${pid}/fd`;
  const inodes = new Set<string>();
  for (const name of readdirSync(folder)) {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(target(`${folder}/${name}`)) ?? [];
    if (inode !== undefined) inodes.add(inode);
  }
  return inodes;
}

function target(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    // Closed since it was listed.
    return "";
  }
}

function statesIn(file: string): (readonly [inode: string, state: string])[] {
  const [, ...lines] = readFileSync(file, "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const fields = line.trim().split(/\s+/);
    return [fields[9] ?? "", fields[3] ?? ""] as const;
  });
}
