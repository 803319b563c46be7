/**
 * The sockets of a node: one HTTP(S) server for health, pages and upgrades, and the edge
 * on it, by the settings: TLS from files, PROXY protocol from trusted addresses.
 */
import type { Server } from "node:http";
import { Server as TlsServer } from "node:tls";
import type { Limits } from "../../actors/limits.js";
import { NetEdge } from "../drivers/net-edge.js";
import { ProxyGate } from "../drivers/proxy-gate.js";
import type { Log } from "../ports/log.js";
import { tlsFiles } from "./edge-settings.js";
import { createHttpServer, type HttpOptions, hostAndPort } from "./http.js";
import type { Settings } from "./settings.js";
import { followTlsFiles, readTlsPair } from "./tls-files.js";

export interface OpenEdge {
  readonly server: Server;
  readonly transport: NetEdge;
  readonly httpUrl: string;
  readonly edgeUrl: string;
  /** All ways there, the one above first. */
  readonly edgeUrls: readonly string[];
  close(): void;
}

const connectPath = "/connect";
const dropsToldMs = 1_000;

/** Where to listen for all, and no address to connect to. */
const everyAddress: ReadonlySet<string> = new Set(["0.0.0.0", "::", "::0"]);

/** Listens; upgrades are refused until the edge's actor does, too. Throws BadSettings. */
export async function openEdge(
  settings: Settings,
  limits: Limits,
  log: Log,
  http: Pick<HttpOptions, "health" | "dispatch" | "pages" | "socketsMax">,
): Promise<OpenEdge> {
  const { handshakeDeadlineMs } = limits;
  const files = tlsFiles(settings);
  const tls = files && { ...readTlsPair(files), handshakeDeadlineMs };
  const server = createHttpServer({ ...http, ...(tls === undefined ? {} : { tls }) });
  logDrops(server, log);
  const transport = edgeOn(server, settings, limits);
  const place = await listen(server, settings);
  const unfollow =
    files !== undefined && server instanceof TlsServer
      ? followTlsFiles(server, files, log)
      : () => undefined;
  const s = tls === undefined ? "" : "s";
  const edgeUrls = settings.edgeUrl ?? [`ws${s}://${place}${connectPath}`];
  if (settings.edgeUrl === undefined && everyAddress.has(settings.host)) {
    log.warn("clients are told an address that none can reach: set BELFRY_EDGE_URL", { edgeUrls });
  }
  return {
    ...{ server, transport, httpUrl: `http${s}://${place}` },
    ...{ edgeUrl: edgeUrls[0] as string, edgeUrls },
    close: () => {
      unfollow();
      server.close();
      server.closeAllConnections();
    },
  };
}

function edgeOn(server: Server, settings: Settings, limits: Limits): NetEdge {
  const { closeDeadlineMs, handshakeDeadlineMs, handshakesMax, unfinishedBytesMax } = limits;
  const { connectionsMax, askingMax, unsentBytesMax } = limits;
  const { connectionFramesPerSecond: perSecond, connectionFramesBurst: burst } = limits;
  const { proxyProtocol, trustedProxies: trusted } = settings;
  const waiting = { deadlineMs: handshakeDeadlineMs, socketsMax: handshakesMax };
  return new NetEdge({
    ...{ server, path: connectPath, closeDeadlineMs, handshakeDeadlineMs, handshakesMax },
    ...{ connectionsMax, askingMax, heldBytesMax: unfinishedBytesMax, unsentBytesMax },
    framesRate: { perSecond, burst },
    ...(proxyProtocol && trusted !== undefined
      ? { gate: new ProxyGate({ trusted, ...waiting }) }
      : {}),
  });
}

/** Resolves to the host and port that it listens on, as a URL has them. */
function listen(server: Server, { host, port }: Settings): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, backlog: 4_096 }, () => {
      server.off("error", reject);
      const address = server.address();
      const given = typeof address === "object" && address !== null ? address.port : port;
      resolve(hostAndPort(host, given));
    });
  });
}

/** A node at its bound of sockets drops each one more: told with their number, not one by one. */
function logDrops(server: Server, log: Log): void {
  let dropped = 0;
  server.on("drop", () => {
    dropped += 1;
    if (dropped > 1) return;
    setTimeout(() => {
      log.warn("sockets dropped at the bound", { dropped, socketsMax: server.maxConnections });
      dropped = 0;
    }, dropsToldMs).unref();
  });
}
