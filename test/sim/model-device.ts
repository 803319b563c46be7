/**
 * A device as docs/protocol.md describes it, written from there and not from the SDK:
 * takes what continues the chain, asks again for what does not, acknowledges, keeps
 * its position and the ids of what it showed, and comes back elsewhere.
 *
 * It also behaves badly, as devices do: vanishes, stops acknowledging, is slow.
 */
import { encodeClientFrame } from "../../src/client/server-frames.js";
import { unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import type { Position } from "../../src/protocol/position.js";
import type { History } from "./history.js";
import type { Payload } from "./payload.js";
import { type ClientSocket, SharedSocket } from "./shared-socket.js";
import type { ClientEnd, SimTransport } from "./sim-transport.js";
import type { World } from "./world.js";

export interface DevicePlan {
  readonly app: string;
  readonly uid: string;
  readonly device: string;
  /** Its tokens last so long; undefined: for ever. */
  readonly tokenSeconds: number | undefined;
  /** Acks also what it was never sent. */
  readonly isLiar: boolean;
  /** Where edges can be reached now. */
  readonly edges: () => readonly SimTransport[];
  /** Bound to that one's connection in place of one of its own. */
  readonly carrier?: ModelDevice;
}

const heartbeatsMissed = 2.5;
const attachDeadlineMs = 8_000;
const ackAfterMs = 50;
/** Of each look at the heartbeat, twice a second. */
const flipChance = 0.1;

interface Attach {
  readonly socket: ClientSocket;
  /** For those that are bound to it; undefined where it is not its own. */
  readonly shared: SharedSocket | undefined;
  heardMs: number;
  heartbeatMs: number;
  last: Position | undefined;
  isResending: boolean;
  isAckDue: boolean;
  takes?: readonly number[];
}

export class ModelDevice {
  /** What the app took, as the device stores it. */
  taken: Position | undefined;
  /** Takes and shows, but tells the platform nothing. */
  isSilent = false;
  /** Sends a fresh token when it is asked for one; else it is closed, and comes back. */
  isRenewing = true;
  /** Stays away while false. */
  isWanted = true;
  private attach: Attach | undefined;
  private connectCount = 0;
  private readonly shownIds = new Set<string>();
  private attempts = 0;
  private isComing = false;
  /** Half of them say whether somebody looks, the others never do. */
  private app: "front" | "background" | undefined;

  constructor(
    private readonly world: World,
    readonly plan: DevicePlan,
    private readonly history: History,
  ) {
    this.app = world.random.chance(0.5) ? "front" : undefined;
    if (plan.isLiar) history.noteLiar(plan);
  }

  get name(): string {
    return `${this.plan.uid}/${this.plan.device}`;
  }

  get socket(): ClientSocket | undefined {
    return this.attach?.socket;
  }

  get isAttached(): boolean {
    return this.attach?.last !== undefined;
  }

  come(): void {
    if (!this.isWanted || this.attach !== undefined) return;
    this.isComing = false;
    const opened = this.open();
    if (opened === undefined) {
      this.comeLater();
      return;
    }
    const { socket, shared } = opened;
    const nowMs = this.world.nowMs;
    this.attach = {
      socket,
      shared,
      heardMs: nowMs,
      heartbeatMs: attachDeadlineMs / heartbeatsMissed,
      last: undefined,
      isResending: false,
      isAckDue: false,
    };
    this.world.after(attachDeadlineMs, this.name, () => {
      if (this.attach?.socket === socket && this.attach.last === undefined) this.leave("vanish");
    });
    if (shared !== undefined) this.watchHeartbeat(socket);
  }

  private open(): Pick<Attach, "socket" | "shared"> | undefined {
    const { carrier } = this.plan;
    const end: ClientEnd = {
      onOpen: () => this.onOpen(socket),
      onFrame: (bytes) => this.onFrame(socket, unpackValue(bytes) as unknown[]),
      onClose: (code) => this.onClose(socket, code),
    };
    let socket: ClientSocket | undefined;
    if (carrier !== undefined) {
      socket = carrier.isWelcome ? carrier.attach?.shared?.bind(end) : undefined;
      if (socket !== undefined) this.world.note(this.name, "is bound", () => carrier.name);
      return socket && { socket, shared: undefined };
    }
    const edges = this.plan.edges();
    if (edges.length === 0) return undefined;
    const transport = this.world.random.pick(edges);
    this.world.note(this.name, "connects", () => transport.process.name);
    const own = transport.connect(end);
    socket = own;
    return { socket, shared: new SharedSocket(this.world, own) };
  }

  /** Its edge has said what it takes. */
  private get isWelcome(): boolean {
    return this.attach?.takes?.includes(clientKinds.bind) === true;
  }

  leave(how: "close" | "vanish"): void {
    const { attach } = this;
    if (attach === undefined) return;
    this.world.note(this.name, how === "close" ? "closes" : "vanishes");
    if (how === "close") attach.socket.close();
    else attach.socket.vanish();
    this.attach = undefined;
    attach.shared?.gone();
    this.comeLater();
  }

  /** Says again what it has taken, also what it kept to itself. */
  speak(): void {
    this.isSilent = false;
    if (this.attach !== undefined) this.ackLater(this.attach);
  }

  private comeLater(): void {
    if (this.isComing) return;
    this.isComing = true;
    this.attempts = Math.min(this.attempts + 1, 5);
    const waitMs = this.world.random.between(10, 100 * 2 ** this.attempts);
    this.world.after(waitMs, this.name, () => this.come());
  }

  private watchHeartbeat(socket: ClientSocket): void {
    this.world.after(500, this.name, () => {
      const { attach } = this;
      if (attach === undefined || attach.socket !== socket) return;
      const quietMs = this.world.nowMs - attach.heardMs;
      if (quietMs > attach.heartbeatMs * heartbeatsMissed) this.leave("vanish");
      else this.watchHeartbeat(socket);
      if (this.app !== undefined && this.world.random.chance(flipChance)) this.flip(attach);
    });
  }

  /** Somebody looks at the app, or away; as often as no person does. */
  private flip(attach: Attach): void {
    this.app = this.app === "front" ? "background" : "front";
    if (attach.last !== undefined) {
      this.send(attach.socket, [clientKinds.tell, { network: "wifi", app: this.app }]);
    }
  }

  private onOpen(socket: ClientSocket | undefined): void {
    if (socket === undefined || this.attach?.socket !== socket) return;
    const { device } = this.plan;
    const hello = {
      v: 1,
      token: this.token(),
      device,
      platform: "sim",
      connect: ++this.connectCount,
      start: "all",
      ...(this.app === undefined ? {} : { app: this.app }),
      ...(this.taken === undefined ? {} : { position: [this.taken.generation, this.taken.seq] }),
    };
    this.send(socket, [clientKinds.hello, hello]);
  }

  private token(): string {
    const { app, uid, tokenSeconds } = this.plan;
    return JSON.stringify({ app, sub: uid, seconds: tokenSeconds });
  }

  private onClose(socket: ClientSocket | undefined, code: number): void {
    if (this.attach === undefined || this.attach.socket !== socket) return;
    this.world.note(this.name, "is closed", () => String(code));
    const { shared } = this.attach;
    this.attach = undefined;
    shared?.gone();
    this.comeLater();
  }

  private onFrame(socket: ClientSocket | undefined, frame: unknown[]): void {
    const { attach } = this;
    if (socket === undefined || attach?.socket !== socket) return;
    attach.heardMs = this.world.nowMs;
    if (attach.shared?.onFrame(frame)) return;
    switch (frame[0]) {
      case serverKinds.welcome: {
        const { heartbeatMs, takes } = frame[1] as { heartbeatMs: number; takes: number[] };
        attach.heartbeatMs = heartbeatMs;
        attach.takes = takes;
        return;
      }
      case serverKinds.ended:
        // Its own session alone: it comes back with a connection, and those bound to this one too.
        this.leave("close");
        return;
      case serverKinds.directive: {
        const directive = frame[1] as { do: string; heartbeatMs: number };
        if (directive.do === "heartbeat") attach.heartbeatMs = directive.heartbeatMs;
        return;
      }
      case serverKinds.ping:
        this.send(socket, [clientKinds.pong, frame[1]]);
        return;
      case serverKinds.tokenWanted:
        if (this.isRenewing) this.send(socket, [clientKinds.token, 0, this.token()]);
        return;
      case serverKinds.attached:
        this.onAttached(attach, { generation: frame[2] as number, seq: frame[3] as number });
        return;
      case serverKinds.message:
        this.onMessage(attach, frame);
        return;
      default:
        return;
    }
  }

  private onAttached(attach: Attach, base: Position): void {
    this.world.note(this.name, "is attached", () => `at ${base.seq}`);
    this.attempts = 0;
    const { last } = attach;
    const isAbove = last?.generation === base.generation && base.seq > last.seq;
    attach.isResending = false;
    if (isAbove) {
      this.askResend(attach, last);
      return;
    }
    attach.last = base;
  }

  private onMessage(attach: Attach, frame: unknown[]): void {
    const [, , generation, seq, prev, id, , body] = frame as [
      number,
      number,
      number,
      number,
      number,
      string,
      unknown,
      Payload,
    ];
    const { last } = attach;
    if (last === undefined || generation < last.generation) return;
    if (generation === last.generation && seq <= last.seq) {
      this.ackLater(attach);
      return;
    }
    if (generation !== last.generation || prev !== last.seq) {
      if (!attach.isResending) this.askResend(attach, last);
      return;
    }
    attach.isResending = false;
    attach.last = { generation, seq };
    this.take(id, { generation, seq }, body);
    this.ackLater(attach);
  }

  private take(id: string, position: Position, payload: Payload): void {
    const isOld = this.taken?.generation === position.generation && position.seq <= this.taken.seq;
    if (!isOld && !this.shownIds.has(id)) {
      this.world.note(
        this.name,
        "shows",
        () => `${payload.publisher}#${payload.number} as ${position.seq}`,
      );
      this.shownIds.add(id);
      this.history.noteShown(this.plan, position, id, payload);
    }
    if (isOld) return;
    this.taken = position;
    this.history.noteTaken(this.plan, position);
  }

  private askResend(attach: Attach, last: Position): void {
    attach.isResending = true;
    this.send(attach.socket, [clientKinds.resend, 0, last.generation, last.seq]);
    this.world.after(5_000, this.name, () => {
      if (this.attach === attach && attach.isResending) this.leave("close");
    });
  }

  private ackLater(attach: Attach): void {
    if (attach.isAckDue || this.isSilent) return;
    attach.isAckDue = true;
    this.world.after(this.world.random.between(1, ackAfterMs), this.name, () => {
      attach.isAckDue = false;
      const { last } = attach;
      if (this.attach !== attach || last === undefined || this.isSilent) return;
      const seq = this.plan.isLiar ? last.seq + this.world.random.below(4) : last.seq;
      this.send(attach.socket, [clientKinds.ack, 0, last.generation, seq]);
    });
  }

  private send(socket: ClientSocket, frame: readonly unknown[]): void {
    socket.send(encodeClientFrame(frame, false) as Uint8Array);
  }
}
