/** Which pushes need no store. */
import type { AcceptPush } from "../src/protocol/messages.js";

/**
 * At most once, and nothing of it is to be remembered. A lane gives again what it heard no
 * ack of, so what came by one is known by its place, as what has a key is by that.
 */
export function isPassedOn({ command, origin }: AcceptPush): boolean {
  return command.qos === 0 && command.id === undefined && origin === undefined;
}
