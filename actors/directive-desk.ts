/** Passes on what an operator has a user's clients told; the user's shard must be served here. */
import type { Directive } from "../src/protocol/directive.js";
import type { DirectiveRequest } from "../src/protocol/directive-request.js";
import { type ErrorAnswer, errorAnswer } from "../src/protocol/errors.js";
import { sessionKey, shardOfKey } from "../src/protocol/shards.js";
import { isCanonicalToken } from "../src/protocol/tokens.js";
import type { AskResult } from "../src/runtime/envelope.js";
import { isEdgeUrl } from "../topology/edge-policy.js";
import type { NodeContext } from "./node-context.js";
import type { Directed, DirectSession } from "./session-directives.js";

/** A refusal, or what the session answers. `ask` reaches the shards of this node. */
export async function carryOutDirective(
  node: NodeContext,
  { app, uid, device, directive }: DirectiveRequest,
  ask: (order: DirectSession) => Promise<AskResult<Directed>>,
): Promise<ErrorAnswer | AskResult<Directed>> {
  if (!isCanonicalToken(app) || !isCanonicalToken(uid)) return errorAnswer("BAD_UID");
  if (!leadsSomewhere(directive))
    return errorAnswer("BAD_COMMAND", "edges are ws:// or wss:// URLs");
  const key = sessionKey(app, uid);
  const shard = shardOfKey(key);
  if (!node.view.table.isOwnedBy(shard, node)) {
    return errorAnswer("WRONG_SHARD", `shard ${shard} is not served here`);
  }
  const toDevice = device === undefined ? {} : { device };
  const answer = await ask({ kind: "DirectSession", key, directive, ...toDevice });
  const outcome = answer.ok ? { ...answer.value } : { refused: answer.code };
  node.log.info("an operator tells a user's clients", {
    ...{ session: key, do: directive.do },
    ...toDevice,
    ...outcome,
  });
  return answer;
}

function leadsSomewhere(directive: Directive): boolean {
  return directive.do !== "reconnect" || directive.edges.every(({ url }) => isEdgeUrl(url));
}
