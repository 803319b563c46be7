/** The check of a token that Belfry's edge does, for servers that are compared with it. */
import { JwtTokens } from "../../src/drivers/jwt-tokens.js";
import type { AppSecret, TokenVerifier } from "../../src/ports/tokens.js";
import { appRecordVersion } from "../../src/protocol/app-record.js";

export interface TokenApp {
  readonly app: string;
  readonly secret: AppSecret;
}

export function verifierOf({ app, secret }: TokenApp): TokenVerifier["verify"] {
  const known = { v: appRecordVersion, app, secrets: [secret], delivery: "each-device" } as const;
  const record = { ...known, createdAtMs: 0 };
  const tokens = new JwtTokens({ find: (name) => (name === app ? record : undefined) });
  return (token) => tokens.verify(token);
}
