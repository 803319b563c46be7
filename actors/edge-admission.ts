/**
 * Whom this edge lets in, counted: the rules are topology/edge-admission's, this keeps
 * what they look at.
 *
 * The bucket of accepts is taken from by those alone who are let in or stand in line for it:
 * whoever is refused for another reason takes nobody's turn. Who leaves the line, or is
 * refused at its end, has had one.
 */
import {
  type ConnectionId,
  type Handshake,
  type HandshakeRefusal,
  type HandshakeTurn,
  slotOf,
} from "../src/ports/edge-transport.js";
import { addressHolder, clientAddress } from "../topology/client-address.js";
import {
  type EdgeRefusal,
  type EdgeRules,
  edgeRefusals,
  lineSeconds,
  placeInLine,
  refusalOf,
} from "../topology/edge-admission.js";
import type { NodeContext } from "./node-context.js";

const letInAll = 100;
/** What a client may ask again for at once, and will be refused again. */
const holdable: ReadonlySet<EdgeRefusal> = new Set(["rate", "letIn", "lag"]);

/** Of a handshake, drawn and looked up once. */
interface Asking {
  readonly address: string;
  readonly origin: string | undefined;
  readonly draw: number;
}

export class EdgeAdmission {
  private readonly rules: EdgeRules;
  /** Reading an address costs each connection memory: not where no rule wants it. */
  private readonly hasAddressRules: boolean;
  private readonly refused = new Map<EdgeRefusal, number>();
  private fullAtMs = 0;
  /** In line; each has room among the connections, and counts for its address. */
  private waiting = 0;
  private waited = 0;
  /** Refused, and not told yet. */
  private held = 0;
  /** Of the handshake that was let in last: its connection opens next. */
  private lastAddress = "";
  /** By who holds an address. Kept only where that is bounded; as many as connections. */
  private readonly byHolder = new Map<string, number>();
  /** By slot, where they are wanted once the handshake is over. */
  private readonly addresses = new Map<number, string>();

  /** `shut`: why nobody at all is let in now. */
  constructor(
    private readonly node: NodeContext,
    private readonly shut: () => HandshakeRefusal | undefined = () => undefined,
  ) {
    const { connectionsMax, acceptsPerSecond, acceptsBurst, acceptLagMaxMs } = node.limits;
    this.rules = {
      ...node.edgeAccess,
      connectionsMax,
      acceptWaitMsMax: node.limits.acceptWaitMsMax,
      accepts: { perSecond: acceptsPerSecond, burst: acceptsBurst },
      lagMaxMs: acceptLagMaxMs,
    };
    const { allow, deny, connectionsPerAddressMax } = this.rules;
    this.hasAddressRules = [allow, deny, connectionsPerAddressMax].some(
      (rule) => rule !== undefined,
    );
  }

  admit(handshake: Handshake): HandshakeRefusal | HandshakeTurn | undefined {
    const closed = this.shut();
    if (closed !== undefined) return closed;
    const address = this.isAddressWanted ? this.addressOf(handshake) : "";
    const asking = { address, origin: handshake.origin, draw: this.draw() };
    const nowMs = this.node.clock.monotonicMs();
    const refusal = this.refusalOf(asking, this.fullAtMs, nowMs);
    if (refusal !== undefined) return this.holdBack(refusal, this.refuse(refusal, nowMs));
    const place = placeInLine(this.fullAtMs, this.rules.accepts, nowMs);
    this.fullAtMs = place.fullAtMs;
    if (place.waitMs > 0) return this.wait(asking, place.waitMs);
    this.lastAddress = address;
    return undefined;
  }

  /** Nothing is drawn where all are let in. */
  private draw(): number {
    return this.letInPercent >= letInAll ? 0 : this.node.random.next() * letInAll;
  }

  private get letInPercent(): number {
    return this.node.edgeConditions?.letInPercent ?? letInAll;
  }

  private refusalOf(asking: Asking, fullAtMs: number, nowMs: number): EdgeRefusal | undefined {
    const { edgeConditions, transport } = this.node;
    const { address, origin, draw } = asking;
    return refusalOf(
      {
        // Each by itself: spreads showed in the profile of a storm.
        address,
        origin,
        draw,
        fullAtMs,
        nowMs,
        letInPercent: this.letInPercent,
        connections: transport.connectionCount + this.waiting,
        connectionsOfAddress: this.connectionsOf(address),
        lagMs: edgeConditions?.lagMs ?? 0,
      },
      this.rules,
    );
  }

  private refuse(refusal: EdgeRefusal, nowMs: number): HandshakeRefusal {
    this.refused.set(refusal, (this.refused.get(refusal) ?? 0) + 1);
    if (refusal !== "rate") return edgeRefusals[refusal];
    const retryAfterSeconds = lineSeconds(this.fullAtMs, this.rules.accepts, nowMs);
    return { ...edgeRefusals.rate, retryAfterSeconds };
  }

  /**
   * Who is refused for now and asks again at once is to wait before it can. Never where a
   * descriptor could be wanted: held ones have the room that connections and the line leave.
   */
  private holdBack(name: EdgeRefusal, refusal: HandshakeRefusal): HandshakeRefusal | HandshakeTurn {
    const { limits, transport } = this.node;
    const taken = transport.connectionCount + this.waiting + this.held;
    const isHeld = holdable.has(name) && taken < limits.connectionsMax;
    if (!isHeld || limits.refusalHoldMs === 0) return refusal;
    this.held++;
    const leave = () => void this.held--;
    const take = () => {
      leave();
      return refusal;
    };
    return { waitMs: limits.refusalHoldMs, leave, take };
  }

  private wait(asking: Asking, waitMs: number): HandshakeTurn {
    this.waiting++;
    this.waited++;
    this.hold(asking.address, 1);
    const leave = () => {
      this.waiting--;
      this.hold(asking.address, -1);
    };
    // Its origin was looked at: the header it lies in may be large.
    const afterwards: Asking = { ...asking, origin: undefined };
    return { waitMs, leave, take: () => this.take(afterwards, leave) };
  }

  /** All but the rate is asked again: it may have changed meanwhile. */
  private take(asking: Asking, leave: () => void): HandshakeRefusal | undefined {
    leave();
    const closed = this.shut();
    if (closed !== undefined) return closed;
    const nowMs = this.node.clock.monotonicMs();
    const refusal = this.refusalOf(asking, 0, nowMs);
    if (refusal !== undefined) return this.refuse(refusal, nowMs);
    this.lastAddress = asking.address;
    return undefined;
  }

  private addressOf({ remoteAddress, forwardedFor }: Handshake): string {
    return clientAddress(remoteAddress, forwardedFor, this.node.edgeAccess?.trusted);
  }

  private get isAddressWanted(): boolean {
    return this.hasAddressRules || this.node.apps.hasConnectUrls === true;
  }

  private connectionsOf(address: string): number {
    if (this.rules.connectionsPerAddressMax === undefined) return 0;
    return this.byHolder.get(addressHolder(address)) ?? 0;
  }

  opened(connection: ConnectionId): void {
    const isBounded = this.rules.connectionsPerAddressMax !== undefined;
    if (!isBounded && this.node.apps.hasConnectUrls !== true) return;
    const address = this.lastAddress;
    this.addresses.set(slotOf(connection), address);
    this.hold(address, 1);
  }

  /** One more of an address, or one fewer. */
  private hold(address: string, change: 1 | -1): void {
    if (this.rules.connectionsPerAddressMax === undefined) return;
    const holder = addressHolder(address);
    const count = (this.byHolder.get(holder) ?? 0) + change;
    if (count <= 0) this.byHolder.delete(holder);
    else this.byHolder.set(holder, count);
  }

  /** Of an open connection, where it was kept; empty is not known. */
  addressAt(connection: ConnectionId): string | undefined {
    return this.addresses.get(slotOf(connection)) || undefined;
  }

  closed(connection: ConnectionId): void {
    const address = this.addresses.get(slotOf(connection));
    if (address === undefined) return;
    this.addresses.delete(slotOf(connection));
    this.hold(address, -1);
  }

  /** For operators; by reason, those that never happened as 0. */
  inspect(): Record<string, unknown> {
    const { edgeConditions } = this.node;
    const reasons = Object.keys(edgeRefusals) as EdgeRefusal[];
    return {
      connectionsMax: this.rules.connectionsMax,
      letInPercent: this.letInPercent,
      waiting: this.waiting,
      waited: this.waited,
      held: this.held,
      lagMs: Math.round(edgeConditions?.lagMs ?? 0),
      refused: Object.fromEntries(reasons.map((reason) => [reason, this.refused.get(reason) ?? 0])),
    };
  }
}
