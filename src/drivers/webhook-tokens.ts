/**
 * Who a client is, by its app's own choice: its token is a JSON Web Token that the app's
 * secret signed, or anything at all that the app's connect webhook vouches for.
 * docs/api.md has the webhook's contract.
 *
 * Nothing is kept of an answer: each connect is asked for, but that the same one which
 * comes again while its answer is on the way shares it.
 */
import { createHmac, randomUUID } from "node:crypto";
import type { Clock } from "../base/clock.js";
import { accepted, type Refusal, type Result, refused } from "../base/result.js";
import { retryAfterMs } from "../base/retry-after.js";
import type { AppDirectory } from "../ports/app-directory.js";
import type { Log } from "../ports/log.js";
import type { AppSecret, Claims, TokenError, TokenHolder, TokenVerifier } from "../ports/tokens.js";
import type { AppRecord } from "../protocol/app-record.js";
import { isMap } from "../protocol/codec.js";
import { readCredential } from "../protocol/credential.js";
import { appClaimed, readClaims } from "./jwt-tokens.js";
import { systemClock } from "./system-clock.js";
import { WebhookGate } from "./webhook-gate.js";
import { type PostAnswer, PostFailed, WebhookPost } from "./webhook-post.js";

export interface WebhookParts {
  readonly gate?: WebhookGate;
  readonly post?: WebhookPost;
  readonly clock?: Clock;
  readonly log: Log;
}

type Verdict = Result<Claims, TokenError>;

const bodyVersion = 1;
const defaultLifeSeconds = 60 * 60;
const lifeSecondsMax = 24 * 60 * 60;
/** For who is sent away because of one answer that was none. */
const failedRetryMs = 2_000;
const toldEveryMs = 10_000;

export class WebhookTokens implements TokenVerifier {
  private readonly gate: WebhookGate;
  private readonly post: WebhookPost;
  private readonly clock: Clock;
  private readonly log: Log;
  /** By the app and all that is asked; as many as are under way. */
  private readonly asked = new Map<string, Promise<Verdict>>();
  private readonly urls = new Map<string, string>();
  private readonly toldAtMs = new Map<string, number>();

  constructor(
    private readonly apps: AppDirectory,
    private readonly signed: TokenVerifier,
    { gate, post, clock, log }: WebhookParts,
  ) {
    this.clock = clock ?? systemClock;
    this.gate = gate ?? new WebhookGate();
    this.post = post ?? new WebhookPost(undefined, this.clock);
    this.log = log;
  }

  /** Never rejects. */
  async verify(token: string, holder: TokenHolder = {}): Promise<Verdict> {
    try {
      return await this.check(token, holder);
    } catch (error) {
      this.log.error("a token could not be checked", { error: String(error) });
      return unavailable(failedRetryMs);
    }
  }

  inspect(): Readonly<Record<string, unknown>> {
    return this.gate.inspect();
  }

  close(): void {
    this.post.close();
  }

  private async check(token: string, holder: TokenHolder): Promise<Verdict> {
    const { app, text } = readCredential(token);
    // Read twice only where an app may want it.
    const name = app ?? (this.apps.hasConnectUrls ? appClaimed(text) : undefined);
    const record = name === undefined ? undefined : this.apps.find(name);
    if (record?.connect !== undefined) return this.ask(record, text, holder);
    const verdict = await this.signed.verify(text, holder);
    if (app === undefined || !verdict.ok || verdict.value.app === app) return verdict;
    return refused("UNAUTHORIZED", "the token is another app's");
  }

  private ask(record: AppRecord, token: string, holder: TokenHolder): Verdict | Promise<Verdict> {
    const { app, connect } = record;
    const url = connect?.url;
    if (token === "") return refused("UNAUTHORIZED", "the token is missing");
    if (url === undefined) {
      this.tell(app, "an app's connect URL is not readable");
      return unavailable(failedRetryMs);
    }
    if (this.urls.get(app) !== url) this.gate.forget(app);
    this.urls.set(app, url);
    const { device, platform, address } = holder;
    const body = JSON.stringify({ v: bodyVersion, app, token, device, platform, address });
    const under = `${url} ${body}`;
    const shared = this.asked.get(under);
    if (shared !== undefined) return shared;
    const entry = this.gate.enter(app, this.clock.monotonicMs());
    if (!entry.isOpen) return unavailable(entry.retryAfterMs);
    const asking = this.askNow(record, url, body)
      .then(
        (verdict) => {
          const isBack = this.gate.answered(entry.turn);
          if (isBack) this.log.info("a connect webhook answers again", { app });
          return verdict;
        },
        (error: unknown) => {
          const reason = reasonOf(error);
          const isShut = this.gate.failed(entry.turn, this.clock.monotonicMs());
          if (isShut) this.log.warn("a connect webhook is left alone", { app, reason });
          else this.tell(app, "a connect webhook failed", { reason });
          return unavailable(failedRetryMs);
        },
      )
      .finally(() => this.asked.delete(under));
    this.asked.set(under, asking);
    return asking;
  }

  /** Rejects where it did not answer, or said that it cannot. */
  private async askNow(record: AppRecord, url: string, body: string): Promise<Verdict> {
    const id = randomUUID();
    const headers = {
      "content-type": "application/json",
      accept: "application/json",
      ...signatureHeaders(record.secrets, id, this.clock.wallMs(), body),
    };
    return this.verdictOf(record.app, id, await this.post.post(new URL(url), headers, body));
  }

  private verdictOf(app: string, id: string, answer: PostAnswer): Verdict {
    const { status, headers, body } = answer;
    if (status === 401 || status === 403) {
      return refused("UNAUTHORIZED", "the app's webhook refused the token");
    }
    if (status === 200) {
      const verdict = this.claimsOf(app, id, body);
      if (verdict.ok || verdict.code === "TOKEN_EXPIRED") return verdict;
      this.tell(app, "a connect webhook's answer is not usable", { reason: verdict.message });
      return unavailable(failedRetryMs);
    }
    const asksForMs = retryAfterMs(header(headers, "retry-after"), this.clock.wallMs());
    // This client comes too often, or all of them do: the status tells which.
    if (status === 429) return unavailable(Math.max(failedRetryMs, asksForMs));
    if (status === 503 && asksForMs > 0) {
      return unavailable(this.gate.pause(app, asksForMs, this.clock.monotonicMs()));
    }
    if (status === 502 || status === 503 || status === 504) {
      throw new PostFailed(`it answered ${status}`);
    }
    // Prompt, whatever it is: a token that makes it fail must not shut out the other users.
    this.tell(app, "a connect webhook's answer is not usable", { reason: `status ${status}` });
    return unavailable(failedRetryMs);
  }

  private claimsOf(app: string, id: string, body: Uint8Array): Verdict {
    const answer = parseMap(body);
    if (answer === undefined) return refused("UNAUTHORIZED", "it is no JSON map");
    const nowSeconds = Math.floor(this.clock.wallMs() / 1_000);
    const { exp = nowSeconds + defaultLifeSeconds, jti = id } = answer;
    const claims = readClaims({ ...answer, exp, jti }, app);
    if (!claims.ok) return claims;
    if (claims.value.exp <= nowSeconds) return refused("TOKEN_EXPIRED", "the token has expired");
    const latest = nowSeconds + lifeSecondsMax;
    return accepted({ ...claims.value, exp: Math.min(claims.value.exp, latest) });
  }

  /** Of one app once in a while: strangers decide how often it happens. */
  private tell(app: string, event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const nowMs = this.clock.monotonicMs();
    const told = this.toldAtMs.get(app);
    if (told !== undefined && nowMs - told < toldEveryMs) return;
    this.toldAtMs.set(app, nowMs);
    this.log.warn(event, { app, ...fields });
  }
}

/**
 * By the scheme of Standard Webhooks (standardwebhooks.com, "Signature scheme"): HMAC-SHA256
 * of `id.timestamp.body`, once with each live secret, so that a rotation needs no moment.
 * The key is the secret's text in UTF-8, as with tokens.
 */
export function signatureHeaders(
  secrets: readonly AppSecret[],
  id: string,
  wallMs: number,
  body: string,
): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(wallMs / 1_000));
  const signatures = secrets
    .filter(({ secret }) => secret !== "")
    .map(({ secret }) => createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`))
    .map((hmac) => `v1,${hmac.digest("base64")}`);
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": signatures.join(" "),
  };
}

/** The client finds in it when to come back; see docs/protocol.md, "Hints are floors". */
function unavailable(afterMs: number): Refusal<TokenError> {
  const message = `the app's webhook cannot be asked now retryAfterMs=${Math.ceil(afterMs)}`;
  return refused("AUTH_UNAVAILABLE", message);
}

function parseMap(body: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    return isMap(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function header(headers: PostAnswer["headers"], name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
