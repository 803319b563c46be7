/**
 * Fresh tokens on a live connection: one is fetched at a time, and where nobody could vouch
 * for it just now it is tried again while the connection lasts.
 */
import type { Cancel, Clock } from "../base/clock.js";
import type { Random } from "../base/random.js";
import type { CloseName } from "../protocol/close-codes.js";
import { clientKinds } from "../protocol/frames.js";
import type { DeviceOptions } from "./device-options.js";
import { refusalHintMs } from "./reconnect-pace.js";
import { fetchToken } from "./token-fetch.js";

export interface RefreshParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly onFailed: (cause: unknown) => void;
}

interface TakesTokens {
  send(frame: readonly unknown[]): unknown;
}

export const tokenTimeoutMs = 30_000;
const unavailable: CloseName = "AUTH_UNAVAILABLE";

export class TokenRefresh {
  private isFetching = false;
  private cancelAgain: Cancel = () => {};

  constructor(
    private readonly options: Pick<DeviceOptions, "getToken" | "app">,
    private readonly parts: RefreshParts,
  ) {}

  send(connection: TakesTokens, session: number): void {
    this.stop();
    if (this.isFetching) return;
    this.isFetching = true;
    fetchToken(this.options, this.parts.clock, tokenTimeoutMs)
      .then((token) => connection.send([clientKinds.token, session, token]))
      // The edge closes when the old one expires, and the reconnect asks again.
      .catch(this.parts.onFailed)
      .finally(() => {
        this.isFetching = false;
      });
  }

  /** The edge refused what it was sent: another try where that says nothing of the token. */
  refused(connection: TakesTokens, session: number, code: string, message: string): void {
    if (code !== unavailable) return;
    const { clock, random } = this.parts;
    const hintMs = refusalHintMs(code, message);
    this.stop();
    this.cancelAgain = clock.after(hintMs * (1 + random.next()), () =>
      this.send(connection, session),
    );
  }

  stop(): void {
    this.cancelAgain();
  }
}
