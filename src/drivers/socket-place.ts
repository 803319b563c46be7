/**
 * Where a socket is, by which it is the same one on either side of TLS or of a gate: Node
 * names no TLS socket's own below it. Both ends' addresses, since a peer may use one port
 * for two of ours.
 */
import type { Socket } from "node:net";

/** Undefined of one whose peer has reset it; of one that is closed it is another, or none. */
export function placeOf(socket: Socket): string | undefined {
  const { remoteAddress, remotePort, localAddress } = socket;
  return remoteAddress && `${remoteAddress} ${remotePort} ${localAddress}`;
}
