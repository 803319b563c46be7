/**
 * Reads a V8 CPU profile: which functions the time is spent in, and for which part of
 * the platform. A function's part is told by its nearest caller whose file says it,
 * so that time in shared code counts for whoever called it. Pure.
 */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly url: string;
    readonly lineNumber: number;
  };
  readonly children?: readonly number[];
}

export interface Hot {
  readonly name: string;
  /** Of the time that the process was not idle, in percent. */
  readonly percent: number;
}

const parts: readonly (readonly [string, RegExp])[] = [
  ["owner", /\/actors\/(session|shard|commit|device|pending|key-memory|inbox)|\/drivers\/lmdb/],
  ["mysql", /\/drivers\/mysql|\/node_modules\/mysql2\//],
  ["redis", /\/drivers\/redis|\/node_modules\/@?ioredis/],
  ["edge", /\/actors\/(edge|connection)|\/drivers\/(net-edge|net-peer|ws-frames|http-upgrade)/],
];

/** Neither work nor anybody's. */
const idleNames = new Set(["(idle)", "(root)"]);

export function hotFunctions(profile: CpuProfile, count: number, part?: string): Hot[] {
  const partOf = partsById(profile);
  const parents = parentsById(profile);
  return ranked(profile, (node) =>
    part === undefined || partOf.get(node.id) === part
      ? functionName(node, parents.get(node.id))
      : undefined,
  ).slice(0, count);
}

/** owner, edge, stores, and what none of these called: bus, runtime, garbage collection, the program itself. */
export function partShares(profile: CpuProfile): Hot[] {
  const partOf = partsById(profile);
  return ranked(profile, (node) => {
    const { functionName: name } = node.callFrame;
    return name.startsWith("(") ? name : (partOf.get(node.id) ?? "bus and runtime");
  });
}

function ranked(profile: CpuProfile, nameOf: (node: ProfileNode) => string | undefined): Hot[] {
  const selfUs = selfTimes(profile);
  const byName = new Map<string, number>();
  let busyUs = 0;
  for (const node of profile.nodes) {
    const us = selfUs.get(node.id) ?? 0;
    if (us === 0 || idleNames.has(node.callFrame.functionName)) continue;
    busyUs += us;
    const name = nameOf(node);
    if (name !== undefined) byName.set(name, (byName.get(name) ?? 0) + us);
  }
  return [...byName]
    .map(([name, us]) => ({ name, percent: (us / busyUs) * 100 }))
    .sort((a, b) => b.percent - a.percent);
}

function selfTimes({ samples, timeDeltas }: CpuProfile): Map<number, number> {
  const times = new Map<number, number>();
  for (const [at, id] of samples.entries()) {
    times.set(id, (times.get(id) ?? 0) + (timeDeltas[at] ?? 0));
  }
  return times;
}

function parentsById({ nodes }: CpuProfile): Map<number, ProfileNode> {
  const parents = new Map<number, ProfileNode>();
  for (const node of nodes) for (const child of node.children ?? []) parents.set(child, node);
  return parents;
}

function partsById(profile: CpuProfile): Map<number, string> {
  const parents = parentsById(profile);
  const found = new Map<number, string>();
  for (const node of profile.nodes) {
    for (let at: ProfileNode | undefined = node; at !== undefined; at = parents.get(at.id)) {
      const { url } = at.callFrame;
      const part = parts.find(([, pattern]) => pattern.test(url));
      if (part === undefined) continue;
      found.set(node.id, part[0]);
      break;
    }
  }
  return found;
}

/** What is native has no file; its caller's name says what it is for. */
function functionName({ callFrame }: ProfileNode, caller: ProfileNode | undefined): string {
  const { functionName: name, url, lineNumber } = callFrame;
  const shownName = name === "" ? "(anonymous)" : name;
  if (url !== "") return `${shownName} ${shortUrl(url)}:${lineNumber + 1}`;
  if (name.startsWith("(") || caller === undefined) return shownName;
  return `${shownName} ← ${caller.callFrame.functionName} ${shortUrl(caller.callFrame.url)}`;
}

function shortUrl(url: string): string {
  return url.replace(/^.*\/node_modules\//, "").replace(/^.*\/dist\//, "");
}
