/**
 * Clients' tokens as JSON Web Tokens (RFC 7519), signed HS256 with an app's secret.
 *
 * The payload is first read unverified, only to find whose secret must vouch for
 * it; nothing of it is believed before the signature holds. The key is the secret's
 * text in UTF-8, which is what JWT libraries take when they are given a string.
 */
import {
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from "jose";
import type { Clock } from "../base/clock.js";
import { accepted, type Refusal, type Result, refused } from "../base/result.js";
import type { AppDirectory } from "../ports/app-directory.js";
import type { AppSecret, Claims, TokenError, TokenSigner, TokenVerifier } from "../ports/tokens.js";
import type { AppRecord } from "../protocol/app-record.js";
import { routeBytesMax } from "../protocol/call-frames.js";
import { deviceBytesMax } from "../protocol/frames.js";
import { isShortText } from "../protocol/short-text.js";
import { decodeToken, encodeToken, uidTokenBytesMax } from "../protocol/tokens.js";
import { systemClock } from "./system-clock.js";

/** A larger token is refused unread. */
export const tokenBytesMax = 8 * 1024;
export const routesMax = 64;
const algorithm = "HS256";

/** What a token says of itself before anything vouches for it. */
interface Unverified {
  readonly app: string;
  readonly kid: string | undefined;
}

export class JwtTokens implements TokenVerifier, TokenSigner {
  // By the registry's own entry: a secret that was rotated out takes its key with it.
  private readonly keys = new WeakMap<AppSecret, Promise<CryptoKey>>();

  constructor(
    private readonly apps: AppDirectory,
    private readonly clock: Clock = systemClock,
    /** Told what went wrong here and not with a token; the token's holder learns nothing of it. */
    private readonly onFailure: (error: unknown) => void = () => undefined,
  ) {}

  /** Refuses whatever is wrong with the token, and whatever fails here; never rejects. */
  async verify(token: string): Promise<Result<Claims, TokenError>> {
    try {
      return await this.check(token);
    } catch (error) {
      this.onFailure(error);
      // Of the two refusals the one after which a client comes back: its token may be good.
      return refused("TOKEN_EXPIRED", "the token could not be checked; come back");
    }
  }

  private async check(token: string): Promise<Result<Claims, TokenError>> {
    const unverified = readUnverified(token);
    if (!unverified.ok) return unverified;
    const { app, kid } = unverified.value;
    const record = this.apps.find(app);
    if (record === undefined) return unauthorized("no app of the token's name is registered");
    let refusal = unauthorized("the app has no live secret of the token's kid");
    for (const secret of candidates(record, kid)) {
      const verdict = await this.verifyWith(token, secret);
      if (verdict.ok) return readClaims(verdict.value, app);
      if (verdict.code === "TOKEN_EXPIRED") return verdict;
      refusal = verdict;
    }
    return refusal;
  }

  async sign(claims: Claims, secret: AppSecret): Promise<string> {
    const { app, sub, exp, jti, device, routes } = claims;
    const optional = {
      ...(device === undefined ? {} : { device }),
      ...(routes === undefined ? {} : { routes: [...routes] }),
    };
    return new SignJWT({ app, ...optional })
      .setProtectedHeader({ alg: algorithm, typ: "JWT", kid: secret.kid })
      .setSubject(sub)
      .setExpirationTime(exp)
      .setJti(jti)
      .sign(await this.keyOf(secret));
  }

  private async verifyWith(
    token: string,
    secret: AppSecret,
  ): Promise<Result<JWTPayload, TokenError>> {
    const key = await this.keyOf(secret);
    try {
      const verified = await jwtVerify(token, key, {
        algorithms: [algorithm],
        currentDate: new Date(this.clock.wallMs()),
      });
      return accepted(verified.payload);
    } catch (error) {
      return refusalOf(error);
    }
  }

  private keyOf(secret: AppSecret): Promise<CryptoKey> {
    const known = this.keys.get(secret);
    if (known !== undefined) return known;
    const key = crypto.subtle.importKey(
      "raw",
      new TextEncoder().encode(secret.secret),
      { name: "HMAC", hash: "SHA-256" },
      false,
      ["sign", "verify"],
    );
    this.keys.set(secret, key);
    return key;
  }
}

function readUnverified(token: string): Result<Unverified, TokenError> {
  if (token === "") return unauthorized("the token is missing");
  if (token.length > tokenBytesMax) {
    return unauthorized(`the token is longer than ${tokenBytesMax} bytes`);
  }
  try {
    const { alg, kid } = decodeProtectedHeader(token);
    if (alg !== algorithm) return unauthorized(`the token is not signed with ${algorithm}`);
    if (kid !== undefined && typeof kid !== "string") return unauthorized("kid is not a string");
    const { app } = decodeJwt(token);
    if (typeof app !== "string" || app === "") return unauthorized("the token names no app");
    return accepted({ app, kid });
  } catch {
    // jose throws for everything that is no compact JWS with two JSON objects in it.
    return unauthorized("the token is not a JSON Web Token");
  }
}

/** An empty secret would let anybody sign; none is ever made, and none is taken. */
function candidates(record: AppRecord, kid: string | undefined): readonly AppSecret[] {
  return record.secrets.filter(
    (secret) => secret.secret !== "" && (kid === undefined || secret.kid === kid),
  );
}

function readClaims(payload: JWTPayload, app: string): Result<Claims, TokenError> {
  const { sub, exp, jti, device, routes } = payload;
  if (typeof sub !== "string" || !isUserName(sub)) {
    return unauthorized(`sub is not a user's name of 1 to ${uidTokenBytesMax} bytes`);
  }
  if (typeof jti !== "string" || jti === "") return unauthorized("jti is not a string");
  if (!isSeconds(exp)) return unauthorized("exp is not a time in seconds");
  if (device !== undefined && !isShortText(device, deviceBytesMax)) {
    return unauthorized(`device is not a name of 1 to ${deviceBytesMax} bytes`);
  }
  if (routes !== undefined && !isRouteList(routes)) {
    return unauthorized(`routes are not at most ${routesMax} names of 1 to ${routeBytesMax} bytes`);
  }
  return accepted({
    ...{ app, sub, exp, jti },
    ...(device === undefined ? {} : { device }),
    ...(routes === undefined ? {} : { routes }),
  });
}

function isRouteList(routes: unknown): routes is readonly string[] {
  if (!Array.isArray(routes) || routes.length > routesMax) return false;
  return routes.every((route) => isShortText(route, routeBytesMax));
}

/** Two names with one encoding, as ill-formed UTF-16 has them, would share a session. */
function isUserName(name: string): boolean {
  const token = encodeToken(name);
  return name !== "" && token.length <= uidTokenBytesMax && decodeToken(token) === name;
}

/** JSON can say 1e999, which no timer is to be set by. */
function isSeconds(exp: unknown): exp is number {
  return typeof exp === "number" && exp > 0 && exp <= Number.MAX_SAFE_INTEGER;
}

function refusalOf(error: unknown): Refusal<TokenError> {
  if (error instanceof errors.JWTExpired) {
    return refused("TOKEN_EXPIRED", "the token has expired");
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    return unauthorized(`the token's claim ${error.claim} is ${error.reason}`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return unauthorized("the token's signature does not fit the app's secret");
  }
  if (error instanceof errors.JOSEError || error instanceof TypeError) {
    return unauthorized("the token is not a valid JSON Web Token");
  }
  throw error;
}

function unauthorized(message: string): Refusal<TokenError> {
  return refused("UNAUTHORIZED", message);
}
