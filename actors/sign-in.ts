/**
 * What a client's hello and its token make of a connection, and what the client is told
 * about it. Pure.
 */
import { accepted, type Result, refused } from "../src/base/result.js";
import type { Claims } from "../src/ports/tokens.js";
import type { Hello, Start } from "../src/protocol/frames.js";
import type { Position } from "../src/protocol/position.js";
import { appOfKey, type SessionKey, sessionKey, uidOfKey } from "../src/protocol/shards.js";
import { decodeToken, encodeToken, uidTokenBytesMax } from "../src/protocol/tokens.js";

/** Needed until the session has answered the first attach. */
export interface AttachOptions {
  readonly platform: string;
  readonly start: Start;
  readonly taken?: Position;
}

export interface SignIn {
  readonly session: SessionKey;
  readonly device: string;
  readonly connect: number;
  readonly expiresAtMs: number;
  readonly options: AttachOptions;
  /** What it may call; absent: all. */
  readonly routes?: readonly string[];
}

export function sessionOf({ app, sub }: Claims): SessionKey {
  return sessionKey(encodeToken(app), encodeToken(sub));
}

/** The token's device goes before the one that the client names. */
export function signIn(claims: Claims, hello: Hello, nowMs: number): Result<SignIn, "BAD_FRAME"> {
  const session = sessionOf(claims);
  const device = claims.device ?? hello.device;
  if (device === undefined || claims.sub === "" || uidOfKey(session).length > uidTokenBytesMax) {
    return refused("BAD_FRAME", "the hello or its token must name a device and a user");
  }
  const options = {
    platform: hello.platform ?? "unknown",
    start: hello.start,
    ...(hello.position === undefined ? {} : { taken: hello.position }),
  };
  const expiresAtMs = claims.exp * 1_000;
  const connect = hello.connect ?? nowMs;
  const { routes } = claims;
  const known = { session, device, connect, expiresAtMs, options };
  return accepted(routes === undefined ? known : { ...known, routes });
}

/** For the client's `attached` frame. */
export function attachedInfo(session: SessionKey, device: string, tokenExpiryMs: number) {
  return {
    app: decodeToken(appOfKey(session)) ?? "",
    uid: decodeToken(uidOfKey(session)) ?? "",
    device,
    tokenExpiresAt: Math.floor(tokenExpiryMs / 1_000),
  };
}
