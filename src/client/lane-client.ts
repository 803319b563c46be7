/**
 * Pushes by a durable lane: the JetStream stream of the lane takes them and says so (its
 * PubAck); they are delivered from there, at the platform's pace.
 *
 * Repeats go under one idempotency key inside the push, so what the stream took twice comes
 * into the inbox once. Not under a `Nats-Msg-Id`: a stream for all knows one id whoever gave
 * it, and another app's would swallow the push.
 */
import { randomToken } from "../base/random.js";
import { Fault } from "../base/result.js";
import { isMap } from "../protocol/codec.js";
import { type ErrorAnswer, errorAnswer } from "../protocol/errors.js";
import { laneUserSubject } from "../protocol/lanes.js";
import { encodePush, type Push } from "./push-encoding.js";
import { type Repetition, repeat } from "./repetition.js";
import { requestBytes, type ServiceConnection } from "./service-connection.js";

export interface Lane {
  /**
   * Resolves to `{ok: true, stream, seq}` once the lane's stream has it, else to a refusal:
   * LANE_UNKNOWN when no stream takes this lane's messages, LANE_FULL, TIMEOUT when its fate
   * is unknown. Repeated until `deadlineMs` (30,000 unless given, at most 110,000).
   * Rejects with a `Fault` when the connection failed; its `outcome` is "unknown".
   */
  push(
    uid: string,
    push: Push,
    options?: { readonly deadlineMs?: number },
  ): Promise<LaneAccepted | ErrorAnswer>;
}

export interface LaneAccepted {
  readonly ok: true;
  readonly stream: string;
  /** In the stream, not in the user's inbox. */
  readonly seq: number;
}

/** Far below a session's memory of keys, which begins when the first one is taken. */
export const laneDeadlineMsMax = 110_000;
/** A cluster elects a stream's leader within 10 s; meanwhile nobody takes what is published. */
const electionMs = 10_000;
const keyLength = 26;

export interface LaneSurroundings {
  readonly connection: ServiceConnection;
  readonly app: string;
  readonly repetition: Omit<Repetition, "endMs">;
}

export class LaneClient implements Lane {
  constructor(
    private readonly lane: string,
    private readonly around: LaneSurroundings,
  ) {}

  async push(
    uid: string,
    push: Push,
    { deadlineMs = 30_000 }: { readonly deadlineMs?: number } = {},
  ): Promise<LaneAccepted | ErrorAnswer> {
    const { app, connection, repetition } = this.around;
    if (!/^[a-z0-9-]{1,32}$/.test(this.lane)) return errorAnswer("LANE_UNKNOWN");
    const id = push.id ?? randomToken(repetition.random, keyLength);
    const payload = encodePush(uid, { ...push, id });
    if ("ok" in payload) return payload;
    const subject = laneUserSubject(this.lane, app, uid);
    const startMs = repetition.clock.monotonicMs();
    const endMs = startMs + Math.min(deadlineMs, laneDeadlineMsMax);
    let isUnknown = false;
    const attempt = async (timeout: number): Promise<LaneAccepted | ErrorAnswer> => {
      const answer = await requestBytes(connection, subject, payload, { timeout });
      if (answer === "timeout") {
        isUnknown = true;
        return errorAnswer("TIMEOUT");
      }
      if (answer !== "no-responders") return readPubAck(answer);
      const isElected = repetition.clock.monotonicMs() - startMs > electionMs;
      return isElected ? errorAnswer("LANE_UNKNOWN") : unheard;
    };
    const answer = await repeat({ ...repetition, endMs }, attempt);
    if (answer.ok || answer.code !== "LANE_UNKNOWN") return answer;
    // An attempt before it may have reached the stream.
    return isUnknown ? errorAnswer("TIMEOUT") : errorAnswer("LANE_UNKNOWN");
  }
}

/** Nobody took it: worth another attempt, though it may be the lane's name. */
const unheard: ErrorAnswer = { ...errorAnswer("LANE_UNKNOWN"), retryable: true };

/** nats-server, server/errors.json: what a stream says that takes no more, or none so large. */
const storeFailed = 10_077;
const tooLarge = 10_054;

function readPubAck(data: Uint8Array): LaneAccepted | ErrorAnswer {
  const answer = parse(data);
  if (isMap(answer) && isMap(answer.error)) return refusalOf(answer.error);
  if (!isMap(answer) || typeof answer.stream !== "string" || typeof answer.seq !== "number") {
    throw new Fault("BAD_ANSWER", "unknown", "the answer of a lane does not decode");
  }
  const { stream, seq } = answer;
  return { ok: true, stream, seq };
}

function refusalOf({ err_code: code, description }: Record<string, unknown>): ErrorAnswer {
  const said = String(description);
  if (code === storeFailed && /maximum (messages|bytes)/.test(said)) {
    return errorAnswer("LANE_FULL");
  }
  if (code === tooLarge) return errorAnswer("BODY_TOO_LARGE");
  return errorAnswer("STORE_UNAVAILABLE", `the lane's stream: ${said}`);
}

function parse(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}
