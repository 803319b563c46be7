/**
 * What a node is told from outside: environment `BELFRY_…`, overridden by flags
 * `--name=value`. Checked against the schema before anything starts.
 */
import { readFileSync } from "node:fs";
import { z } from "zod";

const nameShape = z.string().regex(/^[a-z0-9-]{1,16}$/, "is [a-z0-9-], 1 to 16 characters");

/** `host:port`, with or without a scheme; several with commas between. */
const serversShape = z
  .string()
  .min(1)
  .refine((list) => list.split(",").every(isServer), "is NATS servers, with commas between")
  .refine((list) => !list.includes("@"), "names no user: BELFRY_NATS_USER does");

const shape = z.object({
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
  dataFolder: z.string().min(1),
  host: z.string().default("127.0.0.1"),
  /** 0: any free port. */
  port: z.coerce.number().int().min(0).max(65_535).default(8080),
  /** What clients are told to connect to; from host and port where absent. */
  edgeUrl: z.string().optional(),
  /** Serves the demo page and gives its users tokens. */
  demo: z.stringbool().default(false),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type Settings = z.infer<typeof shape>;

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
  const given: Record<string, string> = {};
  for (const field of Object.keys(shape.shape)) {
    const value = environment[environmentName(field)];
    if (value !== undefined && value !== "") given[field] = value;
  }
  for (const flag of flags) {
    const [, name, value] = /^--([a-z-]+)=(.*)$/s.exec(flag) ?? [];
    const field = name?.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    if (field === undefined || value === undefined || !(field in shape.shape)) {
      throw new BadSettings(`unknown flag ${flag}`);
    }
    given[field] = value;
  }
  const read = shape.safeParse(given);
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
