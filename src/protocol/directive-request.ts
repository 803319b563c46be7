/** What operators have a user's clients told; the node that owns the user's shard answers. */
import { type Directive, readDirective } from "./directive.js";

export interface DirectiveRequest {
  readonly kind: "directive";
  /** Encoded tokens. */
  readonly app: string;
  readonly uid: string;
  /** All of the user's devices where absent. */
  readonly device?: string;
  readonly directive: Directive;
}

const deviceLengthMax = 64;

/** Undefined where a field is missing or out of range; URLs are judged by the desk. */
export function readDirectiveRequest(
  map: Readonly<Record<string, unknown>>,
): DirectiveRequest | undefined {
  const { app, uid, device } = map;
  const directive = readDirective(map.directive);
  if (typeof app !== "string" || typeof uid !== "string" || directive === undefined) {
    return undefined;
  }
  const request = { kind: "directive", app, uid, directive } as const;
  if (device === undefined) return request;
  if (typeof device !== "string" || device === "" || device.length > deviceLengthMax) {
    return undefined;
  }
  return { ...request, device };
}
