/**
 * Every stored message as an edge puts it on the wire (invariant 3): its prev is what
 * this connection was last sent; and nothing of a lower epoch goes out after a higher
 * one (invariant 1), for which it looks over a connection's shoulder.
 */
import { BoundSession } from "../../actors/bound-session.js";
import { unpackValue } from "../../src/protocol/codec.js";
import { serverKinds } from "../../src/protocol/frames.js";
import type { Attached, Deliver } from "../../src/protocol/messages.js";
import type { RunningSimNode } from "./sim-node.js";
import type { World } from "./world.js";

interface Wire {
  generation: number;
  seq: number;
}

/** The epoch of the message that a connection works on now; the runtime runs one at a time. */
let epochAtWork = 0;

/** Lets the checks see epochs, which frames do not carry. Returns the way back. */
export function watchConnections(): () => void {
  const { prototype } = BoundSession;
  const onAttached = prototype["onAttached"];
  const onDeliver = prototype["onDeliver"];
  prototype["onAttached"] = function (message: Attached) {
    epochAtWork = message.epoch;
    onAttached.call(this, message);
    epochAtWork = 0;
  };
  prototype["onDeliver"] = function (message: Deliver) {
    epochAtWork = message.epoch;
    onDeliver.call(this, message);
    epochAtWork = 0;
  };
  return () => {
    prototype["onAttached"] = onAttached;
    prototype["onDeliver"] = onDeliver;
  };
}

export function checkWire(world: World, { name, transport }: RunningSimNode): void {
  // By connection and session.
  const wires = new Map<string, Wire>();
  const epochs = new Map<string, number>();
  transport.onSent = (socket, bytes) => {
    const frame = unpackValue(bytes) as number[];
    const [kind, session, generation = 0, seq = 0, prev = 0] = frame;
    const connection = `${socket}.${session}`;
    // The index may be another session's next.
    if (kind === serverKinds.ended) {
      wires.delete(connection);
      epochs.delete(connection);
    }
    if (kind !== serverKinds.attached && kind !== serverKinds.message) return;
    const epoch = epochs.get(connection) ?? 0;
    world.check(
      epochAtWork >= epoch,
      1,
      () => `${name}/${connection} sent seq ${seq} of epoch ${epochAtWork} after epoch ${epoch}`,
    );
    epochs.set(connection, epochAtWork);
    const wire = wires.get(connection);
    if (kind === serverKinds.message) {
      const isNext = wire?.generation === generation && wire.seq === prev && seq > prev;
      world.check(
        isNext,
        3,
        () => `${name}/${connection} was sent seq ${seq} with prev ${prev} after ${wire?.seq}`,
      );
    }
    wires.set(connection, { generation, seq });
  };
}
