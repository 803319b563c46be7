/**
 * The node's HTTP side beside WebSocket upgrades: the health answer, and pages where
 * it has some. Owns the bounds on what strangers may hold open: how many sockets there
 * are, upgraded ones counted, and how long one may take over a request or an answer.
 *
 * From its upgrade on a socket answers to the edge (net-edge.ts), not to these deadlines.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";

export interface HttpOptions {
  /** Asked for each `/healthz`. */
  readonly health: () => HealthAnswer;
  /** Where clients are told where to connect. */
  readonly dispatch?: (
    search: URLSearchParams,
    request: IncomingMessage,
    response: ServerResponse,
  ) => void;
  /** Answers every path that is not the node's own; without it there is nothing there. */
  readonly pages?: Pages;
  /** One socket more is closed as soon as it is accepted. */
  readonly socketsMax: number;
  /**
   * From the accepted socket, or the answer before, to the whole request, upgrades too;
   * and how long a peer may go without taking anything of its answer.
   */
  readonly requestDeadlineMs?: number;
  /** Absent: without TLS. */
  readonly tls?: {
    readonly cert: string;
    readonly key: string;
    /** From the accepted socket to the end of TLS's own handshake. */
    readonly handshakeDeadlineMs: number;
  };
}

/** The client protocol's: see docs/protocol.md. */
export const dispatchPath = "/edges";

/** `host:port` as it stands in a URL: an IPv6 address in brackets (RFC 3986, 3.2.2). */
export function hostAndPort(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Unhealthy is answered 503, either with the reason or what else is to be said. */
export interface HealthAnswer {
  readonly isHealthy: boolean;
  readonly text: string;
}

export type Pages = (
  pathname: string,
  request: IncomingMessage,
  response: ServerResponse,
) => Promise<void>;

const requestDeadlineMsDefault = 10_000;
/** Of a kept socket between two requests. */
const idleMsMax = 5_000;
/** An overdue socket is found so late at most, as a part of its deadline. */
const checksPerDeadline = 10;

export function createHttpServer(options: HttpOptions): Server {
  const deadlineMs = options.requestDeadlineMs ?? requestDeadlineMsDefault;
  const bounds = {
    // Of its headers too: Node takes the smaller of this and 60 s for them.
    requestTimeout: deadlineMs,
    // Node's own is 30 s, and what is overdue stays until the next check.
    connectionsCheckingInterval: deadlineMs / checksPerDeadline,
    keepAliveTimeout: Math.min(idleMsMax, deadlineMs),
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    // The server's bounds watch requests; this one the peer that does not read its answer.
    // By the answer and not the server, so that a WebSocket's socket never has a timer.
    response.setTimeout(deadlineMs);
    answer(options, request, response).catch(() => {
      if (!response.headersSent) sendText(response, 500, "something failed here");
      else response.destroy();
    });
  };
  const { tls } = options;
  const server: Server =
    tls === undefined
      ? createServer(bounds, onRequest)
      : createTlsServer(
          { ...bounds, cert: tls.cert, key: tls.key, handshakeTimeout: tls.handshakeDeadlineMs },
          onRequest,
        );
  server.maxConnections = options.socketsMax;
  return server;
}

async function answer(
  options: HttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const target = request.url ?? "/";
  if (!URL.canParse(target, "http://node")) {
    sendText(response, 400, "no URL");
    return;
  }
  const { pathname, searchParams } = new URL(target, "http://node");
  if (pathname === "/healthz") {
    const { isHealthy, text } = options.health();
    sendText(response, isHealthy ? 200 : 503, text);
    return;
  }
  if (pathname === dispatchPath && options.dispatch !== undefined) {
    options.dispatch(searchParams, request, response);
    return;
  }
  if (options.pages === undefined) sendText(response, 404, "nothing here");
  else await options.pages(pathname, request, response);
}

export function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text}\n`);
}
