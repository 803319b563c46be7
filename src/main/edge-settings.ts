/** What a node is told of its edge: whom it lets in, and how many. */
import { z } from "zod";
import { defaultLimits, type Limits } from "../../actors/limits.js";
import { AddressRanges } from "../base/address-ranges.js";
import type { EdgeAccess } from "../ports/edge-conditions.js";
import { heartbeatMsRange } from "../protocol/directive.js";

const rangesShape = z
  .string()
  .refine((list) => AddressRanges.parse(list) !== undefined, "is addresses, or address/bits")
  .transform((list) => AddressRanges.parse(list));

const countShape = z.coerce.number().int().min(1);

const heartbeatShape = z.coerce
  .number()
  .int()
  .min(heartbeatMsRange.least)
  .max(heartbeatMsRange.most)
  .optional();

const originsShape = z
  .string()
  .transform((list) => list.split(",").map((origin) => origin.trim().toLowerCase()))
  .refine((origins) => origins.every(isOrigin), "is origins such as https://app.example.com");

/** See limits, where each has its name. */
const heartbeatFields = {
  heartbeatMs: heartbeatShape,
  heartbeatWifiMs: heartbeatShape,
  heartbeatCellularMs: heartbeatShape,
  heartbeatEthernetMs: heartbeatShape,
  heartbeatFrontMs: heartbeatShape,
  heartbeatMinMs: heartbeatShape,
  heartbeatMaxMs: heartbeatShape,
};
/** Intervals without a sign of the client, until it counts as lost (docs/protocol.md). */
const heartbeatsMissed = 2.5;

/** That much of a second's worth may come at once. */
const burstSeconds = 0.1;
/** Clients give an attach up after 15 s, of which the line is to leave enough. */
const acceptWaitMsMost = 10_000;

export const edgeFields = {
  connectionsMax: countShape.optional(),
  acceptsPerSecond: countShape.optional(),
  acceptWaitMs: z.coerce.number().int().min(0).max(acceptWaitMsMost).optional(),
  connectionsPerAddress: countShape.optional(),
  handshakeDeadlineMs: z.coerce.number().int().min(100).max(60_000).optional(),
  ...heartbeatFields,
  /** Of clients; all where absent. `deny` goes before it. */
  allow: rangesShape.optional(),
  deny: rangesShape.optional(),
  /** Of pages whose browsers may connect; any where absent. */
  origins: originsShape.optional(),
  /** Of proxies that are believed. */
  trustedProxies: rangesShape.optional(),
  /** Each socket of theirs begins with whose it is. */
  proxyProtocol: z.stringbool().default(false),
  /** PEM, both or none. */
  tlsCertFile: z.string().min(1).optional(),
  tlsKeyFile: z.string().min(1).optional(),
};

type EdgeSettings = z.infer<z.ZodObject<typeof edgeFields>>;

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** As browsers write it: nothing behind the port. */
function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text;
}

/** What no single field tells; undefined where nothing is wrong. */
export function wrongTogether(settings: EdgeSettings): string | undefined {
  const { tlsCertFile, tlsKeyFile, proxyProtocol, trustedProxies } = settings;
  if ((tlsCertFile === undefined) !== (tlsKeyFile === undefined)) {
    return "tlsCertFile (BELFRY_TLS_CERT_FILE) and tlsKeyFile (BELFRY_TLS_KEY_FILE): both or none";
  }
  const { heartbeatMinMs, heartbeatMaxMs } = { ...defaultLimits, ...heartbeatLimits(settings) };
  if (heartbeatMinMs > heartbeatMaxMs) {
    return "heartbeatMinMs (BELFRY_HEARTBEAT_MIN_MS): is above the longest, heartbeatMaxMs";
  }
  if (proxyProtocol && trustedProxies === undefined) {
    return "proxyProtocol (BELFRY_PROXY_PROTOCOL): needs trustedProxies (BELFRY_TRUSTED_PROXIES)";
  }
  return undefined;
}

export function tlsFiles({ tlsCertFile, tlsKeyFile }: EdgeSettings): TlsFiles | undefined {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return { certFile: tlsCertFile, keyFile: tlsKeyFile };
}

export function edgeLimits(settings: EdgeSettings): Partial<Limits> {
  const { connectionsMax, acceptsPerSecond, acceptWaitMs, handshakeDeadlineMs } = settings;
  return {
    ...(connectionsMax === undefined ? {} : { connectionsMax }),
    ...(acceptsPerSecond === undefined
      ? {}
      : { acceptsPerSecond, acceptsBurst: Math.ceil(acceptsPerSecond * burstSeconds) }),
    ...(acceptWaitMs === undefined ? {} : { acceptWaitMsMax: acceptWaitMs }),
    ...(handshakeDeadlineMs === undefined ? {} : { handshakeDeadlineMs }),
    ...heartbeatLimits(settings),
  };
}

function heartbeatLimits(settings: EdgeSettings): Partial<Limits> {
  const names = Object.keys(heartbeatFields) as (keyof typeof heartbeatFields)[];
  const set = names.filter((name) => settings[name] !== undefined);
  const limits = Object.fromEntries(set.map((name) => [name, settings[name]]));
  const { heartbeatMs } = settings;
  if (heartbeatMs === undefined) return limits;
  return { ...limits, heartbeatDeadlineMs: heartbeatMs * heartbeatsMissed };
}

export function edgeAccess(settings: EdgeSettings): EdgeAccess {
  const { allow, deny, origins, trustedProxies, connectionsPerAddress } = settings;
  return {
    ...(allow === undefined ? {} : { allow }),
    ...(deny === undefined ? {} : { deny }),
    ...(origins === undefined ? {} : { origins: new Set(origins) }),
    ...(trustedProxies === undefined ? {} : { trusted: trustedProxies }),
    ...(connectionsPerAddress === undefined
      ? {}
      : { connectionsPerAddressMax: connectionsPerAddress }),
  };
}
