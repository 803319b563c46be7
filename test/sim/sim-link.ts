/**
 * The connection of one process to the NATS server: a stream each way, in order.
 *
 *   up ──cut──▶ cut ──(healed before anybody noticed)──▶ up, and what was held flows on
 *                └──(server or client gives it up)──▶ lost ──(healed, dialled)──▶ up, anew
 *
 * A cut holds bytes back, in one direction or both; only giving the connection up
 * loses them. The server then forgets its subscriptions, the client dials again.
 */
import type { SimProcess } from "./sim-process.js";
import type { World } from "./world.js";

export type Direction = "to-server" | "from-server";

interface Stream {
  isCut: boolean;
  held: (() => void)[];
  lastMs: number;
}

export class SimLink {
  /** As the server sees it: whether it has the client's subscriptions. */
  isKnownToServer = true;
  /** As the client sees it. */
  isUp = true;
  onDown: () => void = () => {};
  onUp: () => void = () => {};
  /** At the server, when it gives the connection up. */
  onForgotten: () => void = () => {};
  /** The longest stall that it ever had. */
  stallMaxMs = 0;
  private stalledUntilMs = 0;
  private lastArrivalMs = 0;
  private generation = 0;
  private readonly streams: Record<Direction, Stream> = {
    "to-server": { isCut: false, held: [], lastMs: 0 },
    "from-server": { isCut: false, held: [], lastMs: 0 },
  };
  /** What was sent in this very instant goes in one packet. */
  private packet: { readonly atMs: number; readonly parts: (() => void)[] } | undefined;

  constructor(
    private readonly world: World,
    readonly process: SimProcess,
    private readonly delayMs: () => number,
  ) {}

  /** `arrive` runs at the server, unless the connection is lost on the way. */
  send(arrive: () => void): void {
    if (!this.isUp || this.process.isDead) return;
    const { world } = this;
    if (this.packet?.atMs === world.nowMs) {
      this.packet.parts.push(arrive);
      return;
    }
    const packet = { atMs: world.nowMs, parts: [arrive] };
    this.packet = packet;
    this.carry("to-server", this.delayMs(), () => {
      for (const part of packet.parts) part();
    });
  }

  /** `arrive` runs in the process, behind all that the server sent before. */
  deliver(label: string, arrive: () => void): void {
    const soonestMs = Math.max(this.world.nowMs + this.delayMs(), this.stalledUntilMs);
    this.lastArrivalMs = Math.max(soonestMs, this.lastArrivalMs + 0.0001);
    this.carryAt("from-server", this.lastArrivalMs, () => this.process.receive(label, arrive));
  }

  /** A client that is slow to read: what is sent to it now arrives at the end. */
  stall(forMs: number): void {
    this.stallMaxMs = Math.max(this.stallMaxMs, forMs);
    this.stalledUntilMs = Math.max(this.stalledUntilMs, this.world.nowMs + forMs);
  }

  cut(direction: Direction): void {
    this.streams[direction].isCut = true;
  }

  get isCut(): boolean {
    return this.streams["to-server"].isCut || this.streams["from-server"].isCut;
  }

  heal(): void {
    for (const stream of Object.values(this.streams)) {
      stream.isCut = false;
      const { held } = stream;
      stream.held = [];
      for (const arrive of held) arrive();
    }
    if (this.isUp && this.isKnownToServer) return;
    this.clientGivesUp();
    this.serverGivesUp();
    this.world.after(this.world.random.between(20, 300), "dial", () => this.dial());
  }

  serverGivesUp(): void {
    if (!this.isKnownToServer) return;
    this.isKnownToServer = false;
    this.onForgotten();
    this.loseFlight();
  }

  clientGivesUp(): void {
    if (!this.isUp) return;
    this.isUp = false;
    this.loseFlight();
    this.process.receive("link down", () => this.onDown());
  }

  private dial(): void {
    if (this.isCut || this.process.isDead) return;
    this.loseFlight();
    this.isKnownToServer = true;
    this.process.receive("link up", () => {
      this.isUp = true;
      this.onUp();
    });
  }

  private loseFlight(): void {
    this.generation++;
    this.lastArrivalMs = 0;
    this.packet = undefined;
    for (const stream of Object.values(this.streams)) stream.held = [];
  }

  private carry(direction: Direction, delayMs: number, arrive: () => void): void {
    const stream = this.streams[direction];
    stream.lastMs = Math.max(stream.lastMs + 0.0001, this.world.nowMs + delayMs);
    this.carryAt(direction, stream.lastMs, arrive);
  }

  private carryAt(direction: Direction, atMs: number, arrive: () => void): void {
    const { generation } = this;
    const stream = this.streams[direction];
    this.world.at(atMs, direction, () => {
      if (generation !== this.generation) return;
      if (stream.isCut) stream.held.push(arrive);
      else arrive();
    });
  }
}
