/** Answers what operators ask of this node; see protocol/operator-desk for the questions. */
import { unreachable } from "../src/base/assert.js";
import { type ErrorCode, errorAnswer, errorTable } from "../src/protocol/errors.js";
import { type DeskRequest, decodeDeskRequest, encodeDesk } from "../src/protocol/operator-desk.js";
import { sessionKey, shardOfKey } from "../src/protocol/shards.js";
import { operatorSubject } from "../src/protocol/subjects.js";
import { isCanonicalToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusSubscription } from "../src/runtime/ports.js";
import type { ActorSystem } from "../src/runtime/system.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import type { ViewSession } from "./session.js";

interface AnswerOperator {
  readonly kind: "AnswerOperator";
  readonly payload: Uint8Array;
  readonly reply: string;
}

const deskKind: ActorKind = {
  name: "operator-desk",
  mailbox: { max: 256, onFull: "drop-newest" },
  restart: "permanent",
};

const roots = ["membership", "placement", "shards", "edge", "health"];

export class OperatorDesk extends Actor<AnswerOperator> {
  private subscription: BusSubscription | undefined = undefined;

  constructor(
    private readonly node: NodeContext,
    private readonly actors: () => ActorSystem,
  ) {
    super();
  }

  get kind(): ActorKind {
    return deskKind;
  }

  protected override started(): void {
    const { bus, nodeId, incarnation } = this.node;
    const { system, ref } = this;
    this.subscription = bus.subscribe(
      operatorSubject(nodeId, incarnation),
      ({ payload, reply }) => {
        // Elsewhere than to an operator an answer could be a message in disguise.
        if (reply?.startsWith("_INBOX") !== true) return;
        system.tell(ref, { kind: "AnswerOperator", payload, reply });
      },
    );
  }

  protected override stopping(): void {
    this.subscription?.unsubscribe();
  }

  async receive({ payload, reply }: AnswerOperator): Promise<void> {
    const request = decodeDeskRequest(payload);
    const answer = request.ok
      ? await this.answer(request.value)
      : errorAnswer(request.code, request.message);
    const bytes = encodeDesk(answer);
    const isTooLarge = bytes.length > this.node.bus.payloadMax;
    const tooLarge = () => errorAnswer("BAD_COMMAND", "the answer passes a message; ask for less");
    this.node.bus.publish(reply, isTooLarge ? encodeDesk(tooLarge()) : bytes);
  }

  private async answer(request: DeskRequest) {
    const actors = this.actors();
    switch (request.kind) {
      case "status":
        return { ok: true, value: this.status() } as const;
      case "tree":
        return { ok: true, value: actors.inspectTree(request.depth, request.childLimit) } as const;
      case "actor": {
        const details = actors.inspectActor(request.address as Address);
        if (details === undefined) return errorAnswer("NOT_FOUND", "no such actor on this node");
        return { ok: true, value: details } as const;
      }
      case "user":
        return this.viewUser(request.app, request.uid);
      default:
        return unreachable(request);
    }
  }

  private status(): Record<string, unknown> {
    const { nodeId, incarnation, idc, version, processes, edgeUrl } = this.node;
    const actors = this.actors();
    const details = roots.map((root) => {
      const address = addressOn(nodeNameOf(this.node), root);
      return [root, actors.inspectActor(address)?.detail ?? null];
    });
    return {
      nodeId,
      incarnation,
      idc,
      version,
      pid: processes.own.pid,
      edgeUrl,
      counters: actors.counters(),
      ...Object.fromEntries(details),
    };
  }

  private async viewUser(app: string, uid: string) {
    if (!isCanonicalToken(app) || !isCanonicalToken(uid)) return errorAnswer("BAD_UID");
    const key = sessionKey(app, uid);
    const shard = shardOfKey(key);
    if (!this.node.view.table.isOwnedBy(shard, this.node)) {
      return errorAnswer("WRONG_SHARD", `shard ${shard} is not served here`);
    }
    const view: ViewSession = { kind: "ViewSession", key };
    const shards = addressOn(nodeNameOf(this.node), "shards");
    const answer = await this.ask(shards, view, this.node.limits.requestDeadlineMs);
    if (answer.ok) return { ok: true, value: answer.value } as const;
    const code = answer.code in errorTable ? (answer.code as ErrorCode) : "NOT_READY";
    return errorAnswer(code, `${answer.code}: ${answer.message}`);
  }
}
