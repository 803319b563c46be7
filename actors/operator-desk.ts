/** Answers what operators ask of this node; see protocol/operator-desk for the questions. */
import { unreachable } from "../src/base/assert.js";
import { Fault } from "../src/base/result.js";
import type { DirectiveRequest } from "../src/protocol/directive-request.js";
import {
  type ErrorAnswer,
  type ErrorCode,
  errorAnswer,
  errorTable,
} from "../src/protocol/errors.js";
import type { OperatePlacement, PlacementChanged } from "../src/protocol/messages.js";
import {
  type DeskAnswer,
  type DeskRequest,
  decodeDeskRequest,
  encodeDesk,
  isLaneRequest,
  type JournalRequest,
  type LaneRequest,
  type PlacementRequest,
} from "../src/protocol/operator-desk.js";
import { sessionKey, shardOfKey } from "../src/protocol/shards.js";
import { operatorSubject } from "../src/protocol/subjects.js";
import { encodeToken, isCanonicalToken } from "../src/protocol/tokens.js";
import { Actor } from "../src/runtime/actor.js";
import { type Address, addressOn } from "../src/runtime/address.js";
import type { AskResult } from "../src/runtime/envelope.js";
import type { ActorKind } from "../src/runtime/kind.js";
import type { BusSubscription } from "../src/runtime/ports.js";
import type { ActorSystem } from "../src/runtime/system.js";
import type { ViewUsage } from "./app-usage.js";
import { carryOutDirective } from "./directive-desk.js";
import { answerDispatcherRequest } from "./dispatcher-desk.js";
import type { BackUpGroup } from "./group-backup.js";
import { answerFromJournal } from "./journal-reader.js";
import { answerLaneRequest } from "./lane-desk.js";
import type { NodeContext } from "./node-context.js";
import { nodeNameOf } from "./placement-view.js";
import type { ViewSession } from "./session.js";
import type { Directed } from "./session-directives.js";

interface AnswerOperator {
  readonly kind: "AnswerOperator";
  readonly payload: Uint8Array;
  readonly reply: string;
}

/** What the journal had to say, or why it could not. */
interface JournalRead {
  readonly kind: "JournalRead";
  readonly reply: string;
  readonly answer: DeskAnswer | ErrorAnswer;
}

/** JetStream was asked for it, meanwhile others had their answers. */
interface LanesAnswered {
  readonly kind: "LanesAnswered";
  readonly reply: string;
  readonly answer: DeskAnswer | ErrorAnswer;
}

export type DeskMessage = AnswerOperator | JournalRead | LanesAnswered | PlacementChanged;

const deskKind: ActorKind = {
  name: "operator-desk",
  mailbox: { max: 256, onFull: "drop-newest" },
  restart: "permanent",
};

/** Each may hold some 100 MB while it lasts. */
const journalReadsMax = 2;
/** Each has up to 192 requests to JetStream under way. */
const laneRequestsMax = 4;

const roots = ["membership", "placement", "shards", "edge", "health", "journal"];

export class OperatorDesk extends Actor<DeskMessage> {
  private subscription: BusSubscription | undefined = undefined;
  /** The incarnation whose subject is subscribed. */
  private openAs = "";
  private journalReads = 0;
  private laneRequests = 0;

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
    this.open();
  }

  /** Where operators find this node by its record. */
  private open(): void {
    const { bus, nodeId, incarnation } = this.node;
    const { system, ref } = this;
    if (this.openAs === incarnation) return;
    this.openAs = incarnation;
    this.subscription?.unsubscribe();
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

  receive(message: DeskMessage): void | Promise<void> {
    switch (message.kind) {
      case "AnswerOperator":
        return this.onRequest(message);
      case "JournalRead":
        this.journalReads -= 1;
        this.reply(message.reply, message.answer);
        return;
      case "LanesAnswered":
        this.laneRequests -= 1;
        this.reply(message.reply, message.answer);
        return;
      default:
        this.open();
    }
  }

  private async onRequest({ payload, reply }: AnswerOperator): Promise<void> {
    const request = decodeDeskRequest(payload);
    if (!request.ok) {
      this.reply(reply, errorAnswer(request.code, request.message));
    } else if (request.value.kind === "message" || request.value.kind === "reach") {
      this.readJournal(request.value, reply);
    } else if (isLaneRequest(request.value)) {
      this.askLanes(request.value, reply);
    } else {
      this.reply(reply, await this.answer(request.value));
    }
  }

  /** Beside the other questions, which need not wait for it. */
  private readJournal(request: JournalRequest, reply: string): void {
    const { journalStore, clock } = this.node;
    if (journalStore === undefined) {
      this.reply(reply, errorAnswer("UNSUPPORTED", "there is no journal here"));
      return;
    }
    if (this.journalReads >= journalReadsMax) {
      this.reply(reply, errorAnswer("OVERLOADED", "others read the journal; try again"));
      return;
    }
    this.journalReads += 1;
    this.pipe(
      answerFromJournal(request, journalStore, clock),
      (answer): JournalRead => ({ kind: "JournalRead", reply, answer }),
      (error): JournalRead => {
        const answer = errorAnswer("NOT_READY", (error as Error).message);
        return { kind: "JournalRead", reply, answer };
      },
    );
  }

  private askLanes(request: LaneRequest, reply: string): void {
    if (this.laneRequests >= laneRequestsMax) {
      this.reply(reply, errorAnswer("OVERLOADED", "others ask for lanes; try again"));
      return;
    }
    this.laneRequests += 1;
    this.pipe(
      answerLaneRequest(this.node, request),
      (answer): LanesAnswered => ({ kind: "LanesAnswered", reply, answer }),
      (error): LanesAnswered => {
        const answer = errorAnswer("INTERNAL", (error as Error).message);
        return { kind: "LanesAnswered", reply, answer };
      },
    );
  }

  private reply(reply: string, answer: DeskAnswer | ErrorAnswer): void {
    const bytes = encodeDesk(answer);
    const isTooLarge = bytes.length > this.node.bus.payloadMax;
    const tooLarge = () => errorAnswer("BAD_COMMAND", "the answer passes a message; ask for less");
    this.node.bus.publish(reply, isTooLarge ? encodeDesk(tooLarge()) : bytes);
  }

  private async answer(request: Exclude<DeskRequest, JournalRequest | LaneRequest>) {
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
      case "directive":
        return this.direct(request);
      case "backup":
        return this.backUp(request);
      case "usage":
        return this.viewUsage(encodeToken(request.app));
      case "let-in":
        return this.letIn(request.percent);
      case "placement":
      case "drain":
      case "undrain":
      case "rebalance-plan":
      case "rebalance-commit":
        return this.operate(request);
      case "edges":
      case "edges-told":
      case "edges-other":
      case "edges-forget":
      case "edges-away":
      case "edges-heartbeat":
      case "edge-weigh":
      case "edge-drain":
      case "edge-undrain":
        return answerDispatcherRequest(this.node, request);
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
    return deskAnswer(await this.ask(shards, view, this.node.limits.requestDeadlineMs));
  }

  private async direct(request: DirectiveRequest) {
    const shards = addressOn(nodeNameOf(this.node), "shards");
    const { requestDeadlineMs } = this.node.limits;
    const answer = await carryOutDirective(this.node, request, (order) =>
      this.ask<Directed>(shards, order, requestDeadlineMs),
    );
    return "retryable" in answer ? answer : deskAnswer(answer);
  }

  private async backUp({ group, folder, permit }: Extract<DeskRequest, { kind: "backup" }>) {
    const order: BackUpGroup = { kind: "BackUpGroup", folder, permit };
    const address = addressOn(nodeNameOf(this.node), `shards/${group}`);
    return deskAnswer(await this.ask(address, order, this.node.limits.requestDeadlineMs));
  }

  private async viewUsage(appToken: string) {
    const view: ViewUsage = { kind: "ViewUsage", appToken };
    const { requestDeadlineMs } = this.node.limits;
    const [shards, edge] = await Promise.all(
      ["shards", "edge"].map((root) => {
        const address = addressOn(nodeNameOf(this.node), root);
        return this.ask<object>(address, view, requestDeadlineMs);
      }),
    );
    if (!shards?.ok) return deskAnswer(shards as AskResult<object>);
    return {
      ok: true,
      value: { ...shards.value, connections: edge?.ok ? edge.value : null },
    } as const;
  }

  private async letIn(percent: number) {
    const { edgeConditions } = this.node;
    if (edgeConditions === undefined) return errorAnswer("UNSUPPORTED", "there is no switch here");
    try {
      await edgeConditions.setLetIn(percent);
      return { ok: true, value: { letInPercent: percent } } as const;
    } catch (cause) {
      if (cause instanceof Fault) return errorAnswer("NOT_READY", cause.message);
      throw cause;
    }
  }

  private async operate(request: PlacementRequest) {
    const operate: OperatePlacement = { kind: "OperatePlacement", request };
    const placement = addressOn(nodeNameOf(this.node), "placement");
    return deskAnswer(await this.ask(placement, operate, this.node.limits.requestDeadlineMs));
  }
}

/** An actor's own code as it is; one of the runtime's means that it cannot answer now. */
function deskAnswer(answer: AskResult<unknown>): DeskAnswer | ErrorAnswer {
  if (answer.ok) return { ok: true, value: answer.value };
  if (answer.code in errorTable) return errorAnswer(answer.code as ErrorCode, answer.message);
  return errorAnswer("NOT_READY", `${answer.code}: ${answer.message}`);
}
