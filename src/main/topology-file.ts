/**
 * What `make up` starts: a YAML file of topology/, checked whole before anything starts.
 * Unknown fields are refused: a typing error must not start something else.
 */
import { readFileSync } from "node:fs";
import { basename, extname } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

const nameShape = z.string().regex(/^[a-z0-9-]{1,16}$/, "is [a-z0-9-], 1 to 16 characters");

const natsServers = z.strictObject({
  url: z.string().min(1),
  user: z.string().optional(),
  passwordFile: z.string().optional(),
});

const mysqlShape = z.strictObject({
  url: z.string().min(1),
  passwordFile: z.string().optional(),
  tls: z.boolean().optional(),
  caFile: z.string().optional(),
});

const redisShape = z.strictObject({
  url: z.string().min(1),
  passwordFile: z.string().optional(),
  caFile: z.string().optional(),
  cluster: z.boolean().optional(),
});

/** Servers of Belfry's own, or such as run. */
function privateOr<Shape extends z.ZodObject>(servers: Shape) {
  const fields = Object.keys(servers.shape).join(", ");
  const error = `is private, or a map with url, of ${fields}`;
  return z.union([z.literal("private"), servers], { error }).default("private");
}

const lmdbShape = z.strictObject({
  kind: z.literal("lmdb"),
  /** Where `make up` keeps its data unless given. */
  dataFolder: z.string().min(1).optional(),
});

const redisMysqlShape = z.strictObject({
  kind: z.literal("redis-mysql"),
  mysql: privateOr(mysqlShape),
  redis: privateOr(redisShape),
});

const nodeShape = z.strictObject({
  name: nameShape,
  /** Wanted: another one where somebody else has it. */
  port: z.int().min(0).max(65_535).default(0),
  /** A host name; the machine of `make up` unless given. */
  machine: z.string().min(1).optional(),
});

const shape = z.strictObject({
  idc: nameShape.default("dc1"),
  nodes: z.array(nodeShape).min(1).max(64),
  nats: privateOr(natsServers),
  store: z.discriminatedUnion("kind", [lmdbShape, redisMysqlShape]),
  demo: z.boolean().default(false),
});

export type Topology = z.infer<typeof shape>;
export type TopologyNode = z.infer<typeof nodeShape>;
export type RedisMysqlStore = z.infer<typeof redisMysqlShape>;

/** The message is for the person who wrote the file. */
export class BadTopology extends Error {
  override readonly name = "BadTopology";
}

/** What the data of a topology is kept under: the file's own name. */
export function topologyName(file: string): string {
  return basename(file, extname(file));
}

/** Throws BadTopology. */
export function readTopologyFile(file: string): Topology {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new BadTopology(`the topology cannot be read: ${(error as Error).message}`);
  }
  return readTopology(file, text);
}

/** `file` is for the messages. Throws BadTopology. */
export function readTopology(file: string, text: string): Topology {
  let given: unknown;
  try {
    given = parse(text);
  } catch (error) {
    throw new BadTopology(`${file} is no YAML: ${(error as Error).message.trimEnd()}`);
  }
  const read = shape.safeParse(given);
  if (!read.success) {
    const lines = read.error.issues.map((issue) => `${file}: ${describe(issue)}`);
    throw new BadTopology(lines.join("\n"));
  }
  const wrong = contradictionOf(read.data);
  if (wrong !== undefined) throw new BadTopology(`${file}: ${wrong}`);
  return read.data;
}

function describe(issue: z.core.$ZodIssue): string {
  const path = issue.path.join(".");
  if (issue.code === "invalid_type" && issue.path.length === 1 && issue.input === undefined) {
    return `${path} is missing`;
  }
  return path === "" ? issue.message : `${path}: ${issue.message}`;
}

/** What fits field by field and not together. */
function contradictionOf({ nodes, store, nats }: Topology): string | undefined {
  const name = firstTwice(nodes.map((node) => node.name));
  if (name !== undefined) return `two nodes have the name ${name}`;
  const wantedPorts = nodes.filter(({ port }) => port !== 0);
  const port = firstTwice(wantedPorts.map((node) => `${node.port} of ${node.machine ?? "here"}`));
  if (port !== undefined) return `two nodes want port ${port}`;
  if (new Set(nodes.map((node) => node.machine)).size === 1) return undefined;
  if (store.kind === "lmdb") {
    return (
      "the store lmdb is of one machine, and its nodes stand on several: " +
      "its shards could not move between them; take redis-mysql"
    );
  }
  const isPrivate = [nats, store.mysql, store.redis].includes("private");
  if (isPrivate) return "nodes on several machines need nats, mysql and redis by url";
  return undefined;
}

function firstTwice(values: readonly string[]): string | undefined {
  return values.find((value, at) => values.indexOf(value) !== at);
}
