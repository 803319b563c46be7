/** Reads a node's tree of actors, as deep as one answer can carry it. */
import { type ErrorAnswer, errorAnswer } from "../protocol/errors.js";
import { treeChildrenMax } from "../protocol/operator-desk.js";
import { type ActorTree, readTree, sizeOf } from "./actor-tree.js";
import type { Fleet, NodeName } from "./fleet.js";

/** Below NATS's message bound of 1 MB (nats.conf), as the next level is only estimated. */
const answerBytesMax = 800_000;
const firstDepth = 2;

export interface Walk {
  readonly ok: true;
  readonly tree: ActorTree;
  /** As deep as it was read. */
  readonly depth: number;
  /** False when what lies deeper would not have fitted into one answer. */
  readonly isAsDeepAsAsked: boolean;
}

/** Level by level from the second on, so that no answer is asked for that cannot come. */
export async function walk(
  fleet: Fleet,
  node: NodeName,
  depth: number,
): Promise<Walk | ErrorAnswer> {
  for (let at = Math.min(depth, firstDepth); ; at++) {
    const request = { kind: "tree", depth: at, childLimit: treeChildrenMax } as const;
    const answer = await fleet.ask(node, request);
    if (!answer.ok) return answer;
    const tree = readTree(answer.value);
    if (tree === undefined) return errorAnswer("UNSUPPORTED", "the node's tree is not readable");
    const { walked, next } = sizeOf(tree, treeChildrenMax);
    const bytes = JSON.stringify(answer.value).length;
    const fits = bytes + next * (bytes / walked) <= answerBytesMax;
    if (at === depth || next === 0 || !fits) {
      return { ok: true, tree, depth: at, isAsDeepAsAsked: at === depth || next === 0 };
    }
  }
}
