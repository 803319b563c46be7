/**
 * One POST to somebody else's server, with a bound on everything: time, from the name's
 * look-up to the last byte of the answer; what is read of it; sockets kept for the next one.
 * How many are under way is the caller's affair. Redirects are answers like any other.
 */
import { lookup as systemLookup } from "node:dns";
import { type AgentOptions, type IncomingMessage, Agent as PlainAgent, request } from "node:http";
import { request as secureRequest, Agent as TlsAgent } from "node:https";
import type { LookupFunction } from "node:net";
import type { Clock } from "../base/clock.js";
import { systemClock } from "./system-clock.js";

export interface PostLimits {
  readonly deadlineMs: number;
  readonly answerBytesMax: number;
  /** Sockets without a request, of all servers together, and how long one is kept. */
  readonly idleSocketsMax: number;
  readonly idleMs: number;
}

export const defaultPostLimits: PostLimits = {
  deadlineMs: 3_000,
  answerBytesMax: 16 * 1024,
  idleSocketsMax: 64,
  // Below what servers keep one for: 5 s and up.
  idleMs: 4_000,
};

const headerBytesMax = 8 * 1024;

export interface PostAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

/** No whole answer, and why: for the log, never for a client. */
export class PostFailed extends Error {
  override readonly name = "PostFailed";
}

export class WebhookPost {
  private readonly plain: PlainAgent;
  private readonly tls: TlsAgent;
  private readonly lookup: LookupFunction;

  constructor(
    private readonly limits: PostLimits = defaultPostLimits,
    private readonly clock: Clock = systemClock,
    lookup: LookupFunction = systemLookup as LookupFunction,
  ) {
    this.lookup = sharedLookup(lookup);
    const options = { keepAlive: true, scheduling: "lifo", timeout: limits.idleMs } as const;
    this.plain = this.withIdleBound(new PlainAgent(options satisfies AgentOptions));
    this.tls = this.withIdleBound(new TlsAgent(options));
  }

  /** Rejects with PostFailed. */
  async post(
    url: URL,
    headers: Readonly<Record<string, string>>,
    body: string,
  ): Promise<PostAnswer> {
    const endsMs = this.clock.monotonicMs() + this.limits.deadlineMs;
    try {
      return await this.once(url, headers, body, endsMs);
    } catch (error) {
      // The server closed a kept socket just as it was taken: not one byte of this was heard.
      if (error instanceof PostFailed && error.cause === staleSocket) {
        return this.once(url, headers, body, endsMs);
      }
      throw error;
    }
  }

  close(): void {
    this.plain.destroy();
    this.tls.destroy();
  }

  private once(
    url: URL,
    headers: Readonly<Record<string, string>>,
    body: string,
    endsMs: number,
  ): Promise<PostAnswer> {
    const { deadlineMs } = this.limits;
    const isSecure = url.protocol === "https:";
    return new Promise((resolve, reject) => {
      const length = String(Buffer.byteLength(body));
      const outgoing = (isSecure ? secureRequest : request)(url, {
        method: "POST",
        agent: isSecure ? this.tls : this.plain,
        lookup: this.lookup,
        maxHeaderSize: headerBytesMax,
        headers: { ...headers, "content-length": length },
      });
      const leftMs = Math.max(0, endsMs - this.clock.monotonicMs());
      const cancel = this.clock.after(leftMs, () => fail(`no answer within ${deadlineMs} ms`));
      let isAnswering = false;
      const fail = (reason: string, cause?: unknown): void => {
        cancel();
        reject(new PostFailed(reason, { cause }));
        outgoing.destroy();
      };
      outgoing.on("error", (error: NodeJS.ErrnoException) => {
        const isCut = error.code === "ECONNRESET" || error.code === "EPIPE";
        const isStale = outgoing.reusedSocket && isCut && !isAnswering;
        fail(error.message || String(error.code), isStale ? staleSocket : error);
      });
      outgoing.on("response", (response) => {
        isAnswering = true;
        this.read(response, fail, (answer) => {
          cancel();
          resolve(answer);
        });
      });
      outgoing.end(body);
    });
  }

  private read(
    response: IncomingMessage,
    fail: (reason: string) => void,
    done: (answer: PostAnswer) => void,
  ): void {
    const { answerBytesMax } = this.limits;
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    response.on("data", (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes > answerBytesMax) fail(`the answer is above ${answerBytesMax} bytes`);
      else chunks.push(chunk);
    });
    response.on("error", (error) => fail(error.message));
    response.on("close", () => {
      if (!response.complete) return fail("the answer was cut short");
      const { statusCode: status = 0, headers } = response;
      done({ status, headers, body: Buffer.concat(chunks) });
    });
  }

  /** By the method that Node documents for it: false is a socket that is not kept. */
  private withIdleBound<Kept extends PlainAgent>(agent: Kept): Kept {
    const keep = agent.keepSocketAlive.bind(agent) as (socket: unknown) => unknown;
    const { idleSocketsMax } = this.limits;
    const bounded = (socket: unknown): unknown =>
      idleSockets(this.plain, this.tls) < idleSocketsMax && keep(socket);
    return Object.assign(agent, { keepSocketAlive: bounded });
  }
}

const staleSocket = Symbol("a kept socket that the server had closed");

function idleSockets(...agents: readonly PlainAgent[]): number {
  let count = 0;
  for (const { freeSockets } of agents) {
    for (const sockets of Object.values(freeSockets)) count += sockets?.length ?? 0;
  }
  return count;
}

type Found = Parameters<LookupFunction>[2];

/**
 * One look-up of a name at a time, whoever waits for it: each takes a thread of the pool
 * that the checks of tokens need as well, and cannot be ended before the resolver gives up.
 */
export function sharedLookup(lookup: LookupFunction): LookupFunction {
  const waiting = new Map<string, Found[]>();
  return (hostname, options, callback) => {
    const key = `${hostname} ${JSON.stringify(options)}`;
    const others = waiting.get(key);
    if (others !== undefined) {
      others.push(callback);
      return;
    }
    const all = [callback];
    waiting.set(key, all);
    lookup(hostname, options, (...found) => {
      waiting.delete(key);
      for (const each of all) each(...found);
    });
  };
}
