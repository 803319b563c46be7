/** Upgrades as a test's clients ask for them, one by one, with what they were answered. */
import { once } from "node:events";
import { type IncomingMessage, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import type { Socket } from "node:net";

export interface Handshake {
  /** 0 where the socket ended without an answer. */
  readonly status: number;
  readonly retryAfter: number | undefined;
  /** Undefined unless it was let in. */
  readonly socket: Socket | undefined;
}

export interface HandshakeOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Trusted under TLS. */
  readonly ca?: string | Buffer;
  readonly localAddress?: string;
}

const upgradeHeaders = {
  ...{ connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" },
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

export async function shakeHands(url: string, options: HandshakeOptions = {}): Promise<Handshake> {
  const { headers = {}, ca, localAddress } = options;
  const isTls = url.startsWith("wss:");
  const asking = (isTls ? requestTls : requestPlain)(url.replace(/^ws/, "http"), {
    agent: false,
    headers: { ...upgradeHeaders, ...headers },
    ...(ca === undefined ? {} : { ca }),
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  asking.end();
  const upgraded = once(asking, "upgrade") as Promise<[IncomingMessage, Socket]>;
  const answered = once(asking, "response") as Promise<[IncomingMessage]>;
  // Whichever comes second fails with the request, and nobody waits for it.
  upgraded.catch(() => undefined);
  answered.catch(() => undefined);
  try {
    const [response, socket] = await Promise.race([upgraded, answered]);
    socket?.on("error", () => undefined);
    if (socket === undefined) response.resume();
    const after = response.headers["retry-after"];
    return {
      status: response.statusCode ?? 0,
      retryAfter: after === undefined ? undefined : Number(after),
      socket,
    };
  } catch {
    return { status: 0, retryAfter: undefined, socket: undefined };
  }
}
