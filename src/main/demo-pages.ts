/**
 * The demo page with the SDK's modules, and the development tokens that it asks for:
 * anybody gets one for any user of the demo app, so never in production.
 */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { AppDirectory } from "../ports/app-directory.js";
import type { TokenSigner } from "../ports/tokens.js";
import { isMap } from "../protocol/codec.js";
import { type Pages, sendText } from "./http.js";

export const demoApp = "demo";

/** This file runs as dist/src/main/demo-pages.js. */
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

export function demoPages(apps: AppDirectory, signer: TokenSigner): Pages {
  return async (pathname, request, response) => {
    if (pathname === "/" || pathname === "/demo") {
      response.writeHead(302, { location: "/demo/" }).end();
    } else if (pathname === "/demo/token" && request.method === "POST") {
      await giveToken(apps, signer, request, response);
    } else {
      await sendFile(pathname === "/demo/" ? "/demo/index.html" : pathname, response);
    }
  };
}

async function giveToken(
  apps: AppDirectory,
  signer: TokenSigner,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const user = await readUser(request);
  if (user === undefined) {
    sendText(response, 400, 'the body is {"user": "…"}');
    return;
  }
  const secret = apps.find(demoApp)?.secrets[0];
  if (secret === undefined) {
    sendText(response, 503, "the demo app is not registered yet");
    return;
  }
  const exp = Math.floor(Date.now() / 1_000) + tokenSeconds;
  const claims = { app: demoApp, sub: user, exp, jti: randomUUID() };
  const token = await signer.sign(claims, secret);
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
    sendText(response, 404, "nothing here");
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
    sendText(response, 404, "nothing here");
  }
}
