/**
 * What a person opened, told to the edge: each message once, when there is a connection.
 * Nothing is repeated: an edge does not answer, and a receipt is worth no more.
 */
import { clientKinds } from "../protocol/frames.js";
import { SeenIds } from "./seen-ids.js";
import type { CallWay } from "./uplink-calls.js";

/** That wait for a connection; the oldest give way. */
const waitingMax = 64;
const toldMax = 1_024;

export class Openings {
  private readonly told = new SeenIds(toldMax);
  private waiting: string[] = [];
  private way: { readonly connection: CallWay; readonly session: number } | undefined;

  /** A person opened the message with this MsgID. */
  note(id: string): void {
    if (this.told.has(id)) return;
    this.told.add(id);
    this.waiting.push(id);
    if (this.waiting.length > waitingMax) this.waiting.shift();
    this.send();
  }

  onAttached(connection: CallWay, session: number): void {
    this.way = { connection, session };
    this.send();
  }

  onLost(): void {
    this.way = undefined;
  }

  private send(): void {
    if (this.way === undefined) return;
    const { connection, session } = this.way;
    // An edge that does not read it is one that cannot tell it on.
    const isTaken = connection.canTake(clientKinds.opened);
    while (this.waiting.length > 0) {
      const frame = [clientKinds.opened, session, this.waiting[0]];
      if (isTaken && connection.send(frame) === "closed") return;
      this.waiting.shift();
    }
  }
}
