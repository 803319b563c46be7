/** What a person opened: told once, when there is an edge that reads it. */
import { deepEqual } from "node:assert/strict";
import { describe, test } from "node:test";
import { clientKinds } from "../../src/protocol/frames.js";
import { type Stage, stage } from "./device-stage.js";

async function accepted(made: Stage, takes: readonly number[] = [clientKinds.opened]) {
  made.device.connect();
  await made.clock.settle();
  made.edge.socket.open();
  made.edge.socket.welcome(60_000, takes);
  made.edge.socket.attached(1, 0);
}

const openedIn = ({ edge }: Stage) => edge.socket.ofKind(clientKinds.opened);

describe("what a person opened", () => {
  test("is told once each, also when it was opened before there was a connection", async () => {
    const made = stage();
    made.device.opened("m1");
    await accepted(made);
    for (const id of ["m2", "m1", "m2", "m3"]) made.device.opened(id);
    deepEqual(openedIn(made), [
      [clientKinds.opened, 0, "m1"],
      [clientKinds.opened, 0, "m2"],
      [clientKinds.opened, 0, "m3"],
    ]);
    made.device.close();
  });

  test("waits while the connection is gone, the newest 64 of them", async () => {
    const made = stage();
    await accepted(made);
    made.edge.socket.drop();
    for (let number = 0; number < 100; number++) made.device.opened(`m${number}`);
    await made.clock.advanceAndSettle(5_000);
    await accepted(made);
    deepEqual(
      openedIn(made).map(([, , id]) => id),
      Array.from({ length: 64 }, (_, at) => `m${at + 36}`),
    );
    made.device.close();
  });

  test("is told to no edge that does not read it", async () => {
    const made = stage();
    await accepted(made, []);
    made.device.opened("m1");
    deepEqual(openedIn(made), []);
    made.device.close();
  });
});
