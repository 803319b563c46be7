/**
 * What the SDK for services uses of a NATS connection; the one of `@nats-io/transport-node`
 * fits. Nothing of JetStream is needed: a publish into a stream is a request.
 */
import { Fault } from "../base/result.js";

export interface ServiceConnection {
  /** Options are always given. */
  request(
    subject: string,
    payload: Uint8Array,
    options?: { readonly timeout: number },
  ): Promise<{ readonly data: Uint8Array }>;
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: {
      /** Members of one queue share what comes. */
      readonly queue?: string;
      readonly callback: (error: Error | null, message: ServiceMessage) => void;
    },
  ): {
    unsubscribe(): void;
    /** Unsubscribes; resolves when all that came before has been given to the callback. */
    drain?(): Promise<void>;
  };
}

export interface ServiceMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Where an answer goes, if one is wanted. */
  readonly reply?: string | undefined;
}

/** How one request ended without an answer that could be read. */
export type Silence = "no-responders" | "timeout";

/** Throws Fault("BUS", "unknown") when the connection failed. */
export async function requestBytes(
  connection: ServiceConnection,
  subject: string,
  payload: Uint8Array,
  options: { readonly timeout: number },
): Promise<Uint8Array | Silence> {
  try {
    return (await connection.request(subject, payload, options)).data;
  } catch (cause) {
    if (isNoResponders(cause)) return "no-responders";
    if (errorName(cause) === "TimeoutError") return "timeout";
    throw new Fault("BUS", "unknown", `the request failed: ${String(cause)}`, { cause });
  }
}

/** nats-core wraps it in a RequestError; older clients used the code 503. */
function isNoResponders(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ((error as { code?: unknown }).code === "503") return true;
  return error.name.startsWith("NoResponders") || isNoResponders(error.cause);
}

function errorName(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if (error.name === "TimeoutError" || error.cause === undefined) return error.name;
  return errorName(error.cause);
}
