/** A client of a bench's edge with several sessions on its one connection, each with a chain of its own. */
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import type { EdgeClient } from "./bench-edge.js";

export interface BoundSeat {
  readonly index: number;
  readonly bodies: unknown[];
  readonly passing: unknown[];
  uid: string | undefined;
  app: string | undefined;
  device: string | undefined;
  generation: number;
  lastSeq: number;
  attaches: number;
  /** What each `refused` said. */
  readonly refused: string[];
  /** Of `ended`. */
  endedWith: number | undefined;
  tokenWanted: number;
}

export interface Who {
  readonly uid: string;
  readonly app?: string;
  /** What else the token says. */
  readonly claims?: Record<string, unknown>;
}

export class BoundClient implements EdgeClient {
  closedWith: number | undefined;
  takes: readonly number[] = [];
  isAcking = true;
  /** As they came: session and body. */
  readonly order: (readonly [number, unknown])[] = [];
  private readonly seats = new Map<number, BoundSeat>();

  constructor(private readonly toEdge: (bytes: Uint8Array) => void) {}

  seat(index: number): BoundSeat {
    const known = this.seats.get(index);
    if (known !== undefined) return known;
    const made: BoundSeat = {
      ...{ index, bodies: [], passing: [], refused: [] },
      ...{ uid: undefined, app: undefined, device: undefined, endedWith: undefined },
      ...{ generation: 0, lastSeq: 0, attaches: 0, tokenWanted: 0 },
    };
    this.seats.set(index, made);
    return made;
  }

  send(frame: readonly unknown[]): void {
    this.toEdge(packValue(frame));
  }

  hello(who: Who, fields: Record<string, unknown> = {}): void {
    const hello = { v: 1, token: tokenOf(who), device: "phone", connect: 1, start: "all" };
    this.send([clientKinds.hello, { ...hello, ...fields }]);
  }

  bind(index: number, who: Who, fields: Record<string, unknown> = {}): void {
    this.send([
      clientKinds.bind,
      index,
      { token: tokenOf(who), connect: 1, start: "all", ...fields },
    ]);
  }

  unbind(index: number): void {
    this.send([clientKinds.unbind, index]);
  }

  refresh(index: number, who: Who): void {
    this.send([clientKinds.token, index, tokenOf(who)]);
  }

  onFrame(bytes: Uint8Array): void {
    const [kind, index, ...fields] = unpackValue(bytes) as [number, number, ...unknown[]];
    if (kind === serverKinds.welcome) {
      this.takes = (index as unknown as { takes?: number[] }).takes ?? [];
      return;
    }
    if (kind === serverKinds.ping || kind === serverKinds.directive) return;
    const seat = this.seat(index);
    switch (kind) {
      case serverKinds.attached:
        this.onAttached(seat, fields);
        return;
      case serverKinds.message:
        this.onMessage(seat, fields);
        return;
      case serverKinds.passing:
        seat.passing.push(fields.at(-1));
        return;
      case serverKinds.refused:
        seat.refused.push(fields[0] as string);
        return;
      case serverKinds.tokenWanted:
        seat.tokenWanted++;
        return;
      case serverKinds.ended:
        seat.endedWith = fields[0] as number;
        return;
      default:
        throw new Error(`a frame of kind ${kind}`);
    }
  }

  private onAttached(seat: BoundSeat, [generation, seq, info]: unknown[]): void {
    const { app, uid, device } = info as { app: string; uid: string; device: string };
    Object.assign(seat, { generation, lastSeq: seq, app, uid, device, endedWith: undefined });
    seat.attaches++;
  }

  private onMessage(seat: BoundSeat, fields: unknown[]): void {
    const [generation, seq, prev] = fields as [number, number, number];
    if (seat.endedWith !== undefined) throw new Error(`a message of ended session ${seat.index}`);
    if (generation !== seat.generation || prev !== seat.lastSeq) {
      throw new Error(`session ${seat.index}: seq ${seq} with prev ${prev} after ${seat.lastSeq}`);
    }
    seat.lastSeq = seq;
    seat.bodies.push(fields.at(-1));
    this.order.push([seat.index, fields.at(-1)]);
    if (this.isAcking) this.ack(seat.index);
  }

  ack(index: number): void {
    const { generation, lastSeq } = this.seat(index);
    this.send([clientKinds.ack, index, generation, lastSeq]);
  }
}

function tokenOf({ uid, app = "demo", claims = {} }: Who): string {
  return JSON.stringify({ app, sub: uid, ...claims });
}
