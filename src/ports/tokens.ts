/** Who a client is: what its token says once the app's secret, or its webhook, vouched for it. */
import type { Result } from "../base/result.js";

export interface Claims {
  readonly app: string;
  /** The user, raw (not encoded). */
  readonly sub: string;
  /** Seconds since the epoch. */
  readonly exp: number;
  readonly jti: string;
  /** The token is only good for this device. */
  readonly device?: string;
  /** The routes that its bearer may call; absent is all of them. */
  readonly routes?: readonly string[];
}

/** The last one says nothing of the token: who could vouch for it cannot be asked now. */
export type TokenError = "UNAUTHORIZED" | "TOKEN_EXPIRED" | "AUTH_UNAVAILABLE";

/** Who shows a token, as far as it is known; nothing of it is vouched for. */
export interface TokenHolder {
  readonly device?: string;
  readonly platform?: string;
  /** As the edge sees it, behind trusted proxies. */
  readonly address?: string;
}

export interface TokenVerifier {
  verify(token: string, holder?: TokenHolder): Promise<Result<Claims, TokenError>>;
  /** For operators: by app, what was asked of others and how they answered. */
  inspect?(): Readonly<Record<string, unknown>>;
}

export interface TokenSigner {
  /** A token for development and tests; services make their own with any JWT library. */
  sign(claims: Claims, secret: AppSecret): Promise<string>;
}

export interface AppSecret {
  readonly kid: string;
  readonly secret: string;
}
