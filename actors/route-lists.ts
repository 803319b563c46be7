/**
 * Which routes a session of a connection may call, where its token names them: most tokens
 * name none, and cost nothing here.
 */
import type { ConnectionId } from "../src/ports/edge-transport.js";
import { encodeToken } from "../src/protocol/tokens.js";

export class RouteLists {
  /** By index of the session; a list is one text with each encoded route between dots. */
  private readonly lists = new Map<ConnectionId, Map<number, string>>();

  /** As the session's newest token says; without `routes` it may call all. */
  set(connection: ConnectionId, session: number, routes: readonly string[] | undefined): void {
    const ofConnection = this.lists.get(connection) ?? new Map<number, string>();
    if (routes === undefined) ofConnection.delete(session);
    else ofConnection.set(session, `.${routes.map(encodeToken).join(".")}.`);
    if (ofConnection.size === 0) this.lists.delete(connection);
    else this.lists.set(connection, ofConnection);
  }

  allows(connection: ConnectionId, session: number, route: string): boolean {
    const list = this.lists.get(connection)?.get(session);
    return list === undefined || list.includes(`.${encodeToken(route)}.`);
  }

  forget(connection: ConnectionId): void {
    this.lists.delete(connection);
  }

  /** Connections with a list. */
  get size(): number {
    return this.lists.size;
  }
}
