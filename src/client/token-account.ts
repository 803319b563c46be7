/**
 * Whose token it is, read without checking it: that is the edge's business. The
 * client only needs to know whether a stored position is this user's, because one
 * that is another's would acknowledge messages that this user never saw.
 */
import { isMap } from "../protocol/codec.js";

/** Of a token that does not say it itself, by what the app says. */
export function accountOf(
  { app, user }: { readonly app?: string | undefined; readonly user?: string | undefined },
  token: string,
): string | undefined {
  return app === undefined || user === undefined ? accountOfToken(token) : accountName(app, user);
}

/** Names a user of an app; undefined for tokens that are no readable JWT. */
export function accountOfToken(token: string): string | undefined {
  const payload = token.split(".")[1];
  if (payload === undefined) return undefined;
  try {
    const base64 = payload.replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isMap(claims) || typeof claims.app !== "string" || typeof claims.sub !== "string") {
      return undefined;
    }
    return accountName(claims.app, claims.sub);
  } catch {
    return undefined;
  }
}

export function accountName(app: string, uid: string): string {
  return JSON.stringify([app, uid]);
}
