/** Where a listing of sessions ends by its bytes, as InboxGroup.listSessions says. Pure. */
import type { SessionSize } from "../ports/inbox-store.js";

export function withinBytes(
  sizes: readonly SessionSize[],
  bytesMax: number,
): readonly SessionSize[] {
  let bytes = 0;
  const end = sizes.findIndex((size) => {
    const isFull = bytes > bytesMax;
    bytes += size.bytes;
    return isFull;
  });
  return end === -1 ? sizes : sizes.slice(0, end);
}
