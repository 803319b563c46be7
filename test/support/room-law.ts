/**
 * Who may import whom (ARCHITECTURE.md, the rooms), as data and as a checker
 * that takes sources and returns what breaks the law, in sentences.
 */
import { posix } from "node:path";
import { scanImports } from "./import-scan.js";

/** Path from the project's folder, with slashes, to the file's text. */
export type Sources = ReadonlyMap<string, string>;

const rooms = {
  base: [],
  runtime: ["base"],
  protocol: ["base"],
  ports: ["base", "protocol"],
  topology: ["base", "protocol"],
  drivers: ["base", "protocol", "ports"],
  actors: ["base", "protocol", "ports", "runtime", "topology"],
  client: ["base", "protocol"],
  cli: ["base", "protocol", "client", "ports"],
  console: ["base", "protocol", "client", "ports"],
  main: [
    ...["base", "runtime", "protocol", "ports", "topology"],
    ...["drivers", "actors", "client", "cli", "console"],
  ],
} as const satisfies Record<string, readonly string[]>;

type Room = keyof typeof rooms;

/** Single files that a room may import although their room is closed to it. */
const openFiles: Partial<Record<Room, readonly string[]>> = { drivers: ["src/runtime/ports.ts"] };

/** Which rooms may import an npm package; one that is not listed, none. */
const packages: readonly (readonly [RegExp, readonly Room[]])[] = [
  [/^(@nats-io\/.+|lmdb|ioredis|mysql2|cockatiel|ws|jose)$/, ["drivers"]],
  [/^msgpackr$/, ["protocol", "runtime", "client", "drivers"]],
  [/^commander$/, ["cli", "main"]],
  [/^zod$/, ["protocol", "main"]],
  [/^yaml$/, ["main"]],
  [/^(pino|hdr-histogram-js|@opentelemetry\/api)$/, ["drivers", "main"]],
];

/** These run under the simulator or in a browser, where there is no Node. */
const withoutNode: readonly Room[] = [
  ...(["base", "protocol", "runtime", "ports", "topology", "actors", "client"] as const),
];

/** All that breaks the law; `doors` are the files that package.json exports. */
export function breaches(sources: Sources, doors: readonly string[]): string[] {
  const edges = new Map<string, string[]>();
  const found: string[] = [];
  for (const [file, source] of sources) {
    const room = roomOf(file);
    if (room === undefined) {
      found.push(`${file} is in no room`);
      continue;
    }
    const { specifiers, computed, onlyReexports } = scanImports(source);
    if (computed > 0 && room !== "main") found.push(`${file} imports by a computed name`);
    if (onlyReexports && !doors.includes(file)) found.push(`${file} only re-exports`);
    const targets: string[] = [];
    for (const specifier of specifiers) {
      const target = relativeTarget(file, specifier);
      if (target !== undefined) targets.push(target);
      const breach =
        target === undefined
          ? packageBreach(file, room, specifier)
          : fileBreach(file, room, target, sources);
      if (breach !== undefined) found.push(breach);
    }
    edges.set(file, targets);
  }
  return [...found, ...cycles(edges).map((cycle) => `cycle: ${cycle.join(" → ")}`)];
}

/** The files that can be reached from `start` by imports, itself among them. */
export function reachableFrom(start: string, sources: Sources): string[] {
  const reached = new Set([start]);
  for (const file of reached) {
    for (const specifier of scanImports(sources.get(file) ?? "").specifiers) {
      const target = relativeTarget(file, specifier);
      if (target !== undefined) reached.add(target);
    }
  }
  return [...reached];
}

export function importsNode(source: string): boolean {
  return scanImports(source).specifiers.some((specifier) => specifier.startsWith("node:"));
}

function roomOf(file: string): Room | undefined {
  const [first = "", second = "", third] = file.split("/");
  const name = first === "src" && third !== undefined ? second : first;
  return name in rooms ? (name as Room) : undefined;
}

function relativeTarget(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return posix.join(posix.dirname(file), specifier).replace(/\.js$/, ".ts");
}

function fileBreach(
  file: string,
  room: Room,
  target: string,
  sources: Sources,
): string | undefined {
  const to = roomOf(target);
  if (to === undefined || !sources.has(target)) {
    return `${file} imports ${target}, which is no source of a room`;
  }
  const allowed: readonly string[] = rooms[room];
  if (to === room || allowed.includes(to) || openFiles[room]?.includes(target)) return undefined;
  return `${file} imports ${target}: ${room} may not import ${to}`;
}

function packageBreach(file: string, room: Room, specifier: string): string | undefined {
  if (specifier.startsWith("node:")) {
    return withoutNode.includes(room) ? `${file} imports ${specifier}: no Node there` : undefined;
  }
  // The package's own name, without a path inside it.
  const name = /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier;
  const allowed = packages.find(([pattern]) => pattern.test(name))?.[1] ?? [];
  return allowed.includes(room) ? undefined : `${file} imports ${name}: ${room} may not`;
}

/** One cycle for each file that closes one, in the order of the imports. */
function cycles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];

  function visit(file: string): void {
    const at = path.indexOf(file);
    if (at >= 0) found.push([...path.slice(at), file]);
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const target of edges.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  }

  for (const file of edges.keys()) visit(file);
  return found;
}
