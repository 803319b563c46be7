/**
 * Which routes a session may call, where its token names them: most tokens name none, and
 * cost nothing here.
 */
import type { ConnectionId } from "../src/ports/edge-transport.js";
import { encodeToken } from "../src/protocol/tokens.js";

export class RouteLists {
  /** By the session's number; a list is one text with each encoded route between dots. */
  private readonly lists = new Map<ConnectionId, string>();

  /** As the session's newest token says; without `routes` it may call all. */
  set(session: ConnectionId, routes: readonly string[] | undefined): void {
    if (routes === undefined) this.lists.delete(session);
    else this.lists.set(session, `.${routes.map(encodeToken).join(".")}.`);
  }

  allows(session: ConnectionId, route: string): boolean {
    const list = this.lists.get(session);
    return list === undefined || list.includes(`.${encodeToken(route)}.`);
  }

  forget(session: ConnectionId): void {
    this.lists.delete(session);
  }

  /** Sessions with a list. */
  get size(): number {
    return this.lists.size;
  }
}
