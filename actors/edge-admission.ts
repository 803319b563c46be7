/**
 * Whom this edge lets in, counted: the rules are topology/edge-admission's, this keeps
 * what they look at.
 *
 * The bucket of accepts is taken from by those alone who are let in: whoever is refused
 * for another reason takes nobody's turn.
 */
import { taken } from "../src/base/token-bucket.js";
import {
  type ConnectionId,
  type Handshake,
  type HandshakeRefusal,
  slotOf,
} from "../src/ports/edge-transport.js";
import { addressHolder, clientAddress } from "../topology/client-address.js";
import {
  type EdgeRefusal,
  type EdgeRules,
  edgeRefusals,
  refusalOf,
} from "../topology/edge-admission.js";
import type { NodeContext } from "./node-context.js";

const letInAll = 100;

export class EdgeAdmission {
  private readonly rules: EdgeRules;
  /** Reading an address costs each connection memory: not where no rule wants it. */
  private readonly hasAddressRules: boolean;
  private readonly refused = new Map<EdgeRefusal, number>();
  private fullAtMs = 0;
  /** Of the handshake that was let in last: its connection opens next. */
  private lastAddress = "";
  /** By who holds an address. Kept only where that is bounded; as many as connections. */
  private readonly byHolder = new Map<string, number>();
  /** By slot, where they are wanted once the handshake is over. */
  private readonly addresses = new Map<number, string>();

  constructor(private readonly node: NodeContext) {
    const { connectionsMax, acceptsPerSecond, acceptsBurst, acceptLagMaxMs } = node.limits;
    this.rules = {
      ...node.edgeAccess,
      connectionsMax,
      accepts: { perSecond: acceptsPerSecond, burst: acceptsBurst },
      lagMaxMs: acceptLagMaxMs,
    };
    const { allow, deny, connectionsPerAddressMax } = this.rules;
    this.hasAddressRules = [allow, deny, connectionsPerAddressMax].some(
      (rule) => rule !== undefined,
    );
  }

  admit(handshake: Handshake): HandshakeRefusal | undefined {
    const { edgeConditions, clock, random, transport } = this.node;
    const { origin } = handshake;
    const address = this.isAddressWanted ? this.addressOf(handshake) : "";
    const letInPercent = edgeConditions?.letInPercent ?? letInAll;
    const nowMs = clock.monotonicMs();
    const refusal = refusalOf(
      {
        ...{ address, origin, nowMs, letInPercent },
        connections: transport.connectionCount,
        fullAtMs: this.fullAtMs,
        connectionsOfAddress: this.connectionsOf(address),
        // Nothing is drawn where all are let in.
        draw: letInPercent >= letInAll ? 0 : random.next() * letInAll,
        lagMs: edgeConditions?.lagMs ?? 0,
      },
      this.rules,
    );
    if (refusal === undefined) {
      this.lastAddress = address;
      this.fullAtMs = taken(this.fullAtMs, this.rules.accepts, nowMs);
      return undefined;
    }
    this.refused.set(refusal, (this.refused.get(refusal) ?? 0) + 1);
    return edgeRefusals[refusal];
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
    if (!isBounded) return;
    const holder = addressHolder(address);
    this.byHolder.set(holder, (this.byHolder.get(holder) ?? 0) + 1);
  }

  /** Of an open connection, where it was kept; empty is not known. */
  addressAt(connection: ConnectionId): string | undefined {
    return this.addresses.get(slotOf(connection)) || undefined;
  }

  closed(connection: ConnectionId): void {
    const address = this.addresses.get(slotOf(connection));
    if (address === undefined) return;
    this.addresses.delete(slotOf(connection));
    if (this.rules.connectionsPerAddressMax === undefined) return;
    const holder = addressHolder(address);
    const left = (this.byHolder.get(holder) ?? 1) - 1;
    if (left === 0) this.byHolder.delete(holder);
    else this.byHolder.set(holder, left);
  }

  /** For operators; by reason, those that never happened as 0. */
  inspect(): Record<string, unknown> {
    const { edgeConditions } = this.node;
    const reasons = Object.keys(edgeRefusals) as EdgeRefusal[];
    return {
      connectionsMax: this.rules.connectionsMax,
      letInPercent: edgeConditions?.letInPercent ?? letInAll,
      lagMs: Math.round(edgeConditions?.lagMs ?? 0),
      refused: Object.fromEntries(reasons.map((reason) => [reason, this.refused.get(reason) ?? 0])),
    };
  }
}
