/**
 * Names as NATS subjects carry them.
 *
 * Every app, uid and group is one subject token. What a token cannot carry (dot,
 * space, `*`, `>`, `%` itself, controls, non-ASCII) is percent-encoded as UTF-8
 * bytes; the empty name is a lone `%`, so that it can be refused by name. There is
 * exactly one encoding of a name: `isCanonicalToken` tells it, and others are
 * refused, since two encodings of one user would hash to two shards.
 */
export const uidTokenBytesMax = 128;

const plainToken = /^[A-Za-z0-9_~!$&'()+,;=:@-]+$/;
const canonicalToken = /^(?:%|(?:[A-Za-z0-9_~!$&'()+,;=:@-]|%[0-9A-F]{2})+)$/;

export function encodeToken(name: string): string {
  if (plainToken.test(name)) return name;
  if (name === "") return "%";
  let token = "";
  for (const byte of new TextEncoder().encode(name)) {
    const character = String.fromCharCode(byte);
    token += plainToken.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return token;
}

/** The name behind a token; undefined when the token is not the canonical form of any. */
export function decodeToken(token: string): string | undefined {
  if (plainToken.test(token)) return token;
  if (token === "%") return "";
  if (!canonicalToken.test(token)) return undefined;
  const name = decodeUtf8(token);
  return name !== undefined && encodeToken(name) === token ? name : undefined;
}

export function isCanonicalToken(token: string): boolean {
  return decodeToken(token) !== undefined;
}

function decodeUtf8(token: string): string | undefined {
  try {
    return decodeURIComponent(token);
  } catch {
    return undefined; // percent escapes that are no UTF-8
  }
}
