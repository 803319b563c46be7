/** Whom an edge lets go when its peers leave too much unread. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Peer } from "../../src/drivers/net-peer.js";
import { UnsentBytes } from "../../src/drivers/unsent-bytes.js";

describe("what peers leave unread", () => {
  const gone: unknown[] = [];
  const peerWith = (bufferedBytes: number) => ({ bufferedBytes }) as unknown as Peer;
  const make = () => {
    gone.length = 0;
    return new UnsentBytes(100, (peer) => void gone.push(peer));
  };

  test("is on one budget: above it who is behind longest goes, and as many as it takes", () => {
    const unsent = make();
    const peers = [40, 30, 30].map(peerWith);
    for (const peer of peers) unsent.note(peer);
    assert.deepEqual(gone, []);
    unsent.note(peerWith(60));
    assert.deepEqual(gone, peers.slice(0, 2));
    assert.deepEqual(unsent.figures, { behind: 2, unsentBytes: 90, unsentDisplaced: 2 });
  });

  test("is counted once of each, as it is now", () => {
    const unsent = make();
    const peer = { bufferedBytes: 50 };
    unsent.note(peer as Peer);
    peer.bufferedBytes = 70;
    unsent.note(peer as Peer);
    assert.equal(unsent.figures["unsentBytes"], 70);
    unsent.forget(peer as Peer);
    unsent.forget(peer as Peer);
    assert.deepEqual(unsent.figures, { behind: 0, unsentBytes: 0, unsentDisplaced: 0 });
  });

  test("puts who took all behind those who are behind since", () => {
    const unsent = make();
    const [first, second] = [peerWith(50), peerWith(50)];
    for (const peer of [first, second]) unsent.note(peer);
    unsent.forget(first);
    unsent.note(first);
    unsent.note(peerWith(10));
    assert.deepEqual(gone, [second]);
  });
});
