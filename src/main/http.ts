/**
 * The node's HTTP side beside WebSocket upgrades: a health answer and, in demo
 * mode, the demo page with the SDK's modules and development tokens.
 */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { AppDirectory } from "../ports/app-directory.js";
import type { TokenSigner } from "../ports/tokens.js";
import { isMap } from "../protocol/codec.js";

export const demoApp = "demo";

export interface HttpOptions {
  readonly isDemo: boolean;
  /** Asked per request: the registry is read after the server listens. */
  readonly demo: () => { apps: AppDirectory; signer: TokenSigner } | undefined;
  readonly isHealthy: () => boolean;
}

/** This file runs as dist/src/main/http.js. */
const packageRoot = fileURLToPath(new URL("../../../", import.meta.url));
/** What a page may read, by the first part of its path. */
const staticFolders: readonly (readonly [string, string])[] = [
  ["/demo/", join(packageRoot, "src/console/demo")],
  ["/modules/npm/msgpackr/", join(packageRoot, "node_modules/msgpackr")],
  ["/modules/", join(packageRoot, "dist/src")],
];

const contentTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".map": "application/json",
};

const requestBytesMax = 4_096;
const tokenSeconds = 3_600;

export function createHttpServer(options: HttpOptions): Server {
  const server = createServer((request, response) => {
    answer(options, request, response).catch(() => {
      if (!response.headersSent) send(response, 500, "something failed here");
      else response.destroy();
    });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 20_000;
  return server;
}

async function answer(
  options: HttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const target = request.url ?? "/";
  if (!URL.canParse(target, "http://node")) {
    send(response, 400, "no URL");
    return;
  }
  const { pathname } = new URL(target, "http://node");
  if (pathname === "/healthz") {
    send(response, options.isHealthy() ? 200 : 503, options.isHealthy() ? "ok" : "no lease");
    return;
  }
  if (!options.isDemo) {
    send(response, 404, "nothing here");
    return;
  }
  if (pathname === "/" || pathname === "/demo") {
    response.writeHead(302, { location: "/demo/" }).end();
    return;
  }
  if (pathname === "/demo/token" && request.method === "POST") {
    await giveToken(options, request, response);
    return;
  }
  await sendFile(pathname === "/demo/" ? "/demo/index.html" : pathname, response);
}

async function giveToken(
  options: HttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const demo = options.demo();
  const secret = demo?.apps.find(demoApp)?.secrets[0];
  const user = await readUser(request);
  if (user === undefined) {
    send(response, 400, 'the body is {"user": "…"}');
    return;
  }
  if (demo === undefined || secret === undefined) {
    send(response, 503, "the demo app is not registered yet");
    return;
  }
  const exp = Math.floor(Date.now() / 1_000) + tokenSeconds;
  const claims = { app: demoApp, sub: user, exp, jti: randomUUID() };
  const token = await demo.signer.sign(claims, secret);
  response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(JSON.stringify({ token }));
}

async function readUser(request: IncomingMessage): Promise<string | undefined> {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > requestBytesMax) return undefined;
  }
  try {
    const body: unknown = JSON.parse(text);
    return isMap(body) && typeof body.user === "string" && body.user !== "" ? body.user : undefined;
  } catch {
    return undefined;
  }
}

async function sendFile(pathname: string, response: ServerResponse): Promise<void> {
  const place = staticFolders.find(([prefix]) => pathname.startsWith(prefix));
  const contentType = contentTypes[extname(pathname)];
  if (place === undefined || contentType === undefined) {
    send(response, 404, "nothing here");
    return;
  }
  const [prefix, folder] = place;
  try {
    // Throws for what is no encoding of a name.
    const file = normalize(join(folder, decodeURIComponent(pathname.slice(prefix.length))));
    if (!file.startsWith(folder + sep)) throw new Error("outside of the folder");
    const bytes = await readFile(file);
    response.writeHead(200, {
      "content-type": contentType,
      "cache-control": "no-cache",
      // The SDK's modules are public code, also for a page opened from a file.
      ...(prefix.startsWith("/modules/") ? { "access-control-allow-origin": "*" } : {}),
    });
    response.end(bytes);
  } catch {
    send(response, 404, "nothing here");
  }
}

function send(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text}\n`);
}
