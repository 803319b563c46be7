/**
 * The sessions of an edge that were bound to a connection beside its first one. Each has a
 * number of its own, as connections have, with a slot above those of the sockets: owners,
 * the attach queue and the arrays by slot know it as a connection like any other, and none
 * of them is told apart by anything but that number.
 *
 * Invariant: a number is never given twice, so what is late finds nobody.
 */
import { type ConnectionId, connectionId, slotOf } from "../src/ports/edge-transport.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { AttachOptions } from "./sign-in.js";

export interface FurtherSession {
  /** Whose socket it uses. */
  readonly carrier: ConnectionId;
  /** By which the client names it on that connection. */
  readonly index: number;
  readonly key: SessionKey;
  readonly device: string;
  readonly options: AttachOptions;
}

export class FurtherSessions {
  private readonly sessions = new Map<ConnectionId, FurtherSession>();
  /** Let go by their connections; their actors still have what they were told before. */
  private readonly over = new Set<ConnectionId>();
  private readonly freeSlots: number[] = [];
  private slotsUsed = 0;
  private given = 0;

  /** At most `max`, in slots from `firstSlot` on. */
  constructor(
    private readonly firstSlot: number,
    private readonly max: number,
  ) {}

  get size(): number {
    return this.sessions.size;
  }

  /** Slots up to here may be in use. */
  get slotsEnd(): number {
    return this.firstSlot + this.slotsUsed;
  }

  /** Undefined where the edge has as many as it may. */
  add(session: FurtherSession): ConnectionId | undefined {
    if (this.sessions.size >= this.max) return undefined;
    const slot = this.freeSlots.pop() ?? this.firstSlot + this.slotsUsed++;
    const number = connectionId(slot, ++this.given);
    this.sessions.set(number, session);
    return number;
  }

  find(number: ConnectionId): FurtherSession | undefined {
    return this.sessions.get(number);
  }

  end(number: ConnectionId): void {
    if (this.sessions.has(number)) this.over.add(number);
  }

  isOver(number: ConnectionId): boolean {
    return this.over.has(number);
  }

  delete(number: ConnectionId): void {
    this.over.delete(number);
    if (this.sessions.delete(number)) this.freeSlots.push(slotOf(number));
  }
}
