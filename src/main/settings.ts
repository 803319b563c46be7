/**
 * What a node is told from outside: environment `BELFRY_…`, overridden by flags
 * `--name=value`. Checked against the schema before anything starts.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { isEdgeUrl } from "../../topology/edge-policy.js";
import { edgeFields, wrongTogether } from "./edge-settings.js";

const nameShape = z.string().regex(/^[a-z0-9-]{1,16}$/, "is [a-z0-9-], 1 to 16 characters");

/** Where inboxes live; `belfry migrate` takes these alone. */
const storeFields = {
  store: z.enum(["lmdb", "redis-mysql"]).default("lmdb"),
  /** mysql://user@host:port/database */
  mysqlUrl: z.string().optional(),
  mysqlPasswordFile: z.string().optional(),
  mysqlTls: z.stringbool().default(false),
  /** PEM; without it the system's own authorities are trusted. */
  mysqlCaFile: z.string().optional(),
  /** redis://host:port, or rediss:// for TLS */
  redisUrl: z.string().optional(),
  redisPasswordFile: z.string().optional(),
  redisCaFile: z.string().optional(),
  redisCluster: z.stringbool().default(false),
};
/** Ways to one edge. */
const edgeUrlsMax = 8;
/** `host:port`, with or without a scheme; several with commas between. */
const serversShape = z
  .string()
  .min(1)
  .refine((list) => list.split(",").every(isServer), "is NATS servers, with commas between")
  .refine((list) => !list.includes("@"), "names no user: BELFRY_NATS_USER does");

/** Several ways to the same edge with commas between: other ports, other hosts. */
const edgeUrlsShape = z
  .string()
  .transform((list) => list.split(",").map((url) => url.trim()))
  .refine((urls) => urls.every(isEdgeUrl), "is ws:// or wss:// URLs, with commas between")
  .refine((urls) => urls.length <= edgeUrlsMax, `is at most ${edgeUrlsMax} URLs`);

const shape = z.object({
  ...storeFields,
  ...edgeFields,
  /** The datacenter, and its number inside MsgIDs. */
  idc: nameShape.default("dc1"),
  idcNumber: z.coerce.number().int().min(0).max(15).default(1),
  /** The node is `<idc>-<name>`. */
  name: nameShape.default("a"),
  natsUrl: serversShape,
  natsUser: z.string().optional(),
  natsPasswordFile: z.string().optional(),
  natsInboxPrefix: z.string().optional(),
  /** How many servers of a NATS cluster hold the buckets; by what the server is when absent. */
  kvReplicas: z.coerce
    .number()
    .refine((count) => [1, 3, 5].includes(count), "is 1, 3 or 5")
    .optional(),
  /** How long a node, and the leader, may go without renewing; see lease-limits. */
  leaseMs: z.coerce.number().int().min(2_000).max(120_000).optional(),
  /** Holds the volumes of the embedded store; shared by the nodes of one machine. */
  dataFolder: z.string().min(1).optional(),
  host: z.string().default("127.0.0.1"),
  /** 0: any free port. */
  port: z.coerce.number().int().min(0).max(65_535).default(8080),
  /** What clients are told to connect to; from host and port where absent. */
  edgeUrl: edgeUrlsShape.optional(),
  /** Serves the demo page and gives its users tokens. */
  demo: z.stringbool().default(false),
  /** Which shards' steps go into the delivery journal: all, none, or one shard in so many. */
  journal: z
    .string()
    .regex(/^(on|off|sample ([1-9]|[1-5]\d|6[0-4]))$/, "is on, off, or sample and 1 to 64")
    .default("on"),
  /** At which the oldest of the journal leaves; the same for all nodes of a datacenter. */
  journalBytes: z.coerce
    .number()
    .int()
    .min(2 ** 20)
    .default(2 ** 30),
  /** See limits: how far apart two sendings are two attempts. */
  attemptSpacingMs: z.coerce.number().int().min(0).max(3_600_000).optional(),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

const storeShape = z.object(storeFields);

export type Settings = z.infer<typeof shape>;
export type StoreSettings = z.infer<typeof storeShape>;

export class BadSettings extends Error {
  override readonly name = "BadSettings";
}

function isServer(text: string): boolean {
  const server = text.trim();
  try {
    const { hostname } = new URL(server.includes("://") ? server : `nats://${server}`);
    return hostname !== "" && !/\s/.test(server);
  } catch {
    return false;
  }
}

/** Throws BadSettings with one line per wrong setting. */
export function readSettings(
  environment: Readonly<Record<string, string | undefined>>,
  flags: readonly string[],
): Settings {
  const given = readEnvironment(environment, Object.keys(shape.shape));
  for (const flag of flags) {
    const [, name, value] = /^--([a-z-]+)=(.*)$/s.exec(flag) ?? [];
    const field = name?.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    if (field === undefined || value === undefined || !(field in shape.shape)) {
      throw new BadSettings(`unknown flag ${flag}`);
    }
    given[field] = value;
  }
  const settings = check(shape, given);
  const wrong = wrongTogether(settings);
  if (wrong !== undefined) throw new BadSettings(wrong);
  for (const field of requiredBy[settings.store]) {
    if (settings[field] !== undefined) continue;
    const name = `${field} (${environmentName(field)})`;
    throw new BadSettings(`${name}: is required by the store ${settings.store}`);
  }
  return settings;
}

const requiredBy = {
  lmdb: ["dataFolder"],
  "redis-mysql": ["mysqlUrl", "redisUrl"],
} as const;

/** Throws BadSettings with one line per wrong setting. */
export function readStoreSettings(
  environment: Readonly<Record<string, string | undefined>>,
): StoreSettings {
  return check(storeShape, readEnvironment(environment, Object.keys(storeFields)));
}

function readEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  fields: readonly string[],
): Record<string, string> {
  const given: Record<string, string> = {};
  for (const field of fields) {
    const value = environment[environmentName(field)];
    if (value !== undefined && value !== "") given[field] = value;
  }
  return given;
}

function check<Shape extends z.ZodType>(
  wanted: Shape,
  given: Readonly<Record<string, string>>,
): z.infer<Shape> {
  const read = wanted.safeParse(given);
  if (read.success) return read.data;
  const lines = read.error.issues.map((issue) => {
    const field = String(issue.path[0]);
    return `${field} (${environmentName(field)}): ${issue.message}`;
  });
  throw new BadSettings(lines.join("\n"));
}

/** Secrets come by file, so that they stand in no process list. Throws BadSettings. */
export function readSecretFile(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new BadSettings(`a secret's file is not readable: ${(error as Error).message}`);
  }
}

function environmentName(field: string): string {
  return `BELFRY_${field.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}
