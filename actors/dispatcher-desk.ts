/** What operators ask about the edges, answered by any node: what they said is one record. */
import { unreachable } from "../src/base/assert.js";
import { Fault, type Result } from "../src/base/result.js";
import type { DispatcherRequest } from "../src/protocol/dispatcher-request.js";
import { type ErrorAnswer, errorAnswer } from "../src/protocol/errors.js";
import type { DeskAnswer } from "../src/protocol/operator-desk.js";
import { decideEdgeDrain } from "../topology/drain.js";
import {
  decodeEdgePolicy,
  drainRate,
  type EdgePolicy,
  edgePolicyKey,
  encodeEdgePolicy,
  isDrainRate,
  isOtherIdc,
  isWeight,
  plainPolicy,
  plainWeight,
  weightMax,
  withAway,
  withHeartbeat,
  withOther,
  withoutOther,
  withWeight,
} from "../topology/edge-policy.js";
import { Dispatcher } from "./dispatcher.js";
import type { NodeContext } from "./node-context.js";

type Answer = DeskAnswer | ErrorAnswer;
type Refused = "NOT_FOUND" | "BAD_COMMAND" | "LAST_NODE" | "CONFLICT";
type Change = (policy: EdgePolicy) => Result<EdgePolicy, Refused>;

/** Operators who write at once; beyond, something else is wrong. */
const triesMax = 5;

export async function answerDispatcherRequest(
  node: NodeContext,
  request: DispatcherRequest,
): Promise<Answer> {
  try {
    return await answer(node, request);
  } catch (cause) {
    if (!(cause instanceof Fault)) throw cause;
    const isNotDone = cause.outcome === "not-done";
    return errorAnswer(isNotDone ? "NOT_READY" : "TIMEOUT", cause.message);
  }
}

async function answer(node: NodeContext, request: DispatcherRequest): Promise<Answer> {
  switch (request.kind) {
    case "edges":
      return { ok: true, value: viewEdges(node) };
    case "edges-told":
      return { ok: true, value: new Dispatcher(node).answer(request.key, request.attempt) };
    case "edge-weigh": {
      const { weight } = request;
      if (!isWeight(weight)) return badCommand(`a weight is 0 to ${weightMax}`);
      return change(node, (policy) => withWeight(policy, request.node, weight));
    }
    case "edge-drain": {
      const { perSecond = drainRate.plain } = request;
      if (isDrainRate(perSecond)) return drain(node, request.node, perSecond);
      return badCommand(`a rate is ${drainRate.least} to ${drainRate.most} a second`);
    }
    case "edge-undrain":
      return drain(node, request.node, undefined);
    case "edges-other": {
      const { kind: _, ...other } = request;
      if (isOtherIdc(other) && other.idc !== node.idc) {
        return change(node, (policy) => withOther(policy, other));
      }
      return badCommand("it is a datacenter's name, ws:// or wss:// edges, an http dispatcher");
    }
    case "edges-forget":
      return change(node, (policy) => withoutOther(policy, request.idc));
    case "edges-heartbeat": {
      const { kind: _, ...bounds } = request;
      return change(node, (policy) => withHeartbeat(policy, bounds));
    }
    case "edges-away":
      return change(node, (policy) => withAway(policy, request.idc));
    default:
      return unreachable(request);
  }
}

function drain(node: NodeContext, nodeId: string, perSecond: number | undefined): Promise<Answer> {
  const members = [...node.view.nodes.values()];
  return change(node, (policy) => decideEdgeDrain(policy, members, nodeId, perSecond));
}

/** Each try judges the record as it is then. */
async function change({ placement }: NodeContext, decide: Change): Promise<Answer> {
  for (let tries = 0; tries < triesMax; tries++) {
    const present = await placement.get(edgePolicyKey);
    const policy = present === undefined ? plainPolicy : decodeEdgePolicy(present.value);
    if (policy === undefined) {
      return errorAnswer("UNSUPPORTED", `${edgePolicyKey} is of a version unknown here, or noise`);
    }
    const decided = decide(policy);
    if (!decided.ok) return errorAnswer(decided.code, decided.message);
    if (decided.value === policy) return { ok: true, value: { changed: false } };
    const value = encodeEdgePolicy(decided.value);
    const written =
      present === undefined
        ? await placement.create(edgePolicyKey, value)
        : await placement.update(edgePolicyKey, value, present.revision);
    if (written.ok) return { ok: true, value: { changed: true } };
  }
  return errorAnswer("CONFLICT", "others changed it at the same time");
}

function viewEdges({ view, idc }: NodeContext): Record<string, unknown> {
  const { weights, draining, others, awayTo, heartbeat } = view.edgePolicy;
  const edges = [...view.nodes.values()].map((record) => ({
    nodeId: record.nodeId,
    idc: record.idc,
    urls: record.edgeUrls ?? [record.edgeUrl],
    weight: weights.get(record.nodeId) ?? plainWeight,
    drainPerSecond: draining.get(record.nodeId) ?? null,
    isStopping: record.isEdgeClosed === true,
    unwell: record.unwell ?? null,
  }));
  const isHere = (nodeId: string) => view.nodes.has(nodeId);
  return {
    idc,
    letInPercent: view.letInPercent,
    awayTo: awayTo ?? null,
    heartbeat: heartbeat ?? null,
    edges,
    absentInDrain: [...draining.keys()].filter((nodeId) => !isHere(nodeId)),
    others,
  };
}

function badCommand(message: string): ErrorAnswer {
  return errorAnswer("BAD_COMMAND", message);
}
