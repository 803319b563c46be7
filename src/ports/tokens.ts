/** Who a client is: what its token says once the app's secret vouched for it. */
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

export type TokenError = "UNAUTHORIZED" | "TOKEN_EXPIRED";

export interface TokenVerifier {
  verify(token: string): Promise<Result<Claims, TokenError>>;
}

export interface TokenSigner {
  /** A token for development and tests; services make their own with any JWT library. */
  sign(claims: Claims, secret: AppSecret): Promise<string>;
}

export interface AppSecret {
  readonly kid: string;
  readonly secret: string;
}
