/** RFC 6455's framing as data: test/contract/websocket-vectors.json says what is in it. */
import { readFileSync } from "node:fs";
import { projectFile } from "../protocol/project-file.js";

export interface WebSocketVector {
  /** Group and name. */
  readonly title: string;
  readonly input: Buffer;
  /** Messages told, as `told` writes them. */
  readonly events: readonly string[];
  readonly output: string;
  /** Undefined: the connection stays open. */
  readonly closed: number | undefined;
  readonly isStrict: boolean;
}

type Bytes = string | { readonly hex: string; readonly times: number };

interface Written {
  readonly group: string;
  readonly name: string;
  readonly in: readonly Bytes[];
  readonly events: readonly (readonly ["text" | "binary", Bytes])[];
  readonly out: string;
  readonly closed?: number;
  readonly strict?: boolean;
}

export function readVectors(): WebSocketVector[] {
  const file = projectFile("test/contract/websocket-vectors.json");
  const { vectors } = JSON.parse(readFileSync(file, "utf8")) as { vectors: Written[] };
  return vectors.map((written) => ({
    title: `${written.group}: ${written.name}`,
    input: Buffer.concat(written.in.map(bytesOf)),
    events: written.events.map(([form, bytes]) => told(bytesOf(bytes), form === "text")),
    output: written.out,
    closed: written.closed,
    isStrict: written.strict ?? false,
  }));
}

export function told(bytes: Uint8Array, isText: boolean): string {
  return `${isText ? "text" : "binary"} ${Buffer.from(bytes).toString("hex")}`;
}

function bytesOf(bytes: Bytes): Buffer {
  if (typeof bytes === "string") return Buffer.from(bytes, "hex");
  return Buffer.alloc(bytes.times, bytes.hex, "hex");
}
