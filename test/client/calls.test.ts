/** Calls from a device to a service, and what listeners hear. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { describe, test } from "node:test";
import { CallError } from "../../src/client/device-client.js";
import { callsMax } from "../../src/client/uplink-calls.js";
import { clientKinds, serverKinds } from "../../src/protocol/frames.js";
import { ids, type Stage, stage } from "./device-stage.js";

async function calling(takes: readonly number[] = [clientKinds.call]): Promise<Stage> {
  const made = stage();
  made.device.connect();
  await made.clock.settle();
  accept(made, takes);
  return made;
}

function accept(
  { edge }: Pick<Stage, "edge">,
  takes: readonly number[] = [clientKinds.call],
  seq = 0,
): void {
  edge.socket.open();
  edge.socket.welcome(60_000, takes);
  edge.socket.attached(1, seq);
}

const fails = (code: string, outcome: CallError["outcome"]) => (error: unknown) =>
  error instanceof CallError && error.code === code && error.outcome === outcome;

describe("a call", () => {
  test("is answered by its number, in whatever order", async () => {
    const { edge, device } = await calling();
    const first = device.call("orders", { a: 1 });
    const second = device.call("orders", { a: 2 }, { deadlineMs: 2_000 });
    deepEqual(edge.socket.ofKind(clientKinds.call), [
      [7, 0, 1, "orders", 10_000, { a: 1 }],
      [7, 0, 2, "orders", 2_000, { a: 2 }],
    ]);
    edge.socket.reply([serverKinds.answer, 0, 2, null, "two"]);
    edge.socket.reply([serverKinds.answer, 0, 1, null, { one: true }]);
    edge.socket.reply([serverKinds.answer, 0, 99, null, "nobody's"]);
    deepEqual(await first, { one: true });
    equal(await second, "two");
    device.close();
  });

  test("is refused with the code of who refused it", async () => {
    const { edge, device } = await calling();
    const call = device.call("orders", 1);
    edge.socket.reply([serverKinds.answer, 0, 1, "NO_SUCH_ROUTE", "nobody serves orders"]);
    await rejects(call, fails("NO_SUCH_ROUTE", "refused"));
    await rejects(call, /nobody serves orders/);
    device.close();
  });

  test("ends by its deadline, of an hour by a minute", async () => {
    const { clock, device } = await calling();
    const short = device.call("orders", 1, { deadlineMs: 500 });
    const long = device.call("orders", 1, { deadlineMs: 3_600_000 });
    const ends = [
      rejects(short, fails("TIMEOUT", "unknown")),
      rejects(long, fails("TIMEOUT", "unknown")),
    ];
    clock.advance(500);
    await ends[0];
    clock.advance(59_500);
    await ends[1];
    device.close();
  });

  test("waits for a connection, and says so when none came", async () => {
    const made = stage();
    const { device, clock, edge } = made;
    const late = device.call("orders", "late", { deadlineMs: 100 });
    const refused = rejects(late, fails("NOT_CONNECTED", "not-done"));
    clock.advance(100);
    await refused;
    const first = device.call("orders", "first");
    const second = device.call("orders", "second");
    device.connect();
    await clock.advanceAndSettle(3_000);
    accept(made);
    deepEqual(edge.socket.ofKind(clientKinds.call), [
      [7, 0, 2, "orders", 7_000, "first"],
      [7, 0, 3, "orders", 7_000, "second"],
    ]);
    edge.socket.reply([serverKinds.answer, 0, 2, null, 1]);
    edge.socket.reply([serverKinds.answer, 0, 3, null, 2]);
    deepEqual(await Promise.all([first, second]), [1, 2]);
    device.close();
  });

  test("whose connection is lost is not repeated: it may have been carried out", async () => {
    const made = await calling();
    const { edge, device, clock } = made;
    const lost = rejects(device.call("pay", 1), fails("CONNECTION_LOST", "unknown"));
    edge.socket.drop();
    await lost;
    const waits = device.call("pay", 2);
    await clock.advanceAndSettle(1_000);
    accept(made);
    deepEqual(
      edge.socket.ofKind(clientKinds.call).map((frame) => frame[5]),
      [2],
    );
    edge.socket.reply([serverKinds.answer, 0, 2, null, "paid"]);
    equal(await waits, "paid");
    device.close();
  });

  test("under way is answered before the device moves; one that comes then goes by the next edge", async () => {
    const made = await calling();
    const { edge, device, clock } = made;
    const before = edge.socket;
    const first = device.call("orders", 1);
    before.reply([serverKinds.directive, { do: "reconnect" }]);
    await clock.advanceAndSettle(1_000);
    const second = device.call("orders", 2);
    deepEqual([before.closedWith, before.ofKind(clientKinds.call).length], [undefined, 1]);
    before.reply([serverKinds.answer, 0, 1, null, "one"]);
    equal(await first, "one");
    await clock.settle();
    equal(before.closedWith, 3008);
    accept(made);
    edge.socket.reply([serverKinds.answer, 0, 2, null, "two"]);
    equal(await second, "two");
    device.close();
  });

  test("is waited for until 5 s after the device was to move, and no longer", async () => {
    const { edge, device, clock } = await calling();
    const before = edge.socket;
    const lost = rejects(device.call("orders", 1), fails("CONNECTION_LOST", "unknown"));
    before.reply([serverKinds.directive, { do: "reconnect" }]);
    await clock.advanceAndSettle(4_999);
    equal(before.closedWith, undefined);
    await clock.advanceAndSettle(1);
    equal(before.closedWith, 3008);
    await lost;
    device.close();
  });

  test("survives a session that moves on the same connection", async () => {
    const { edge, device } = await calling();
    const call = device.call("orders", 1);
    edge.socket.attached(1, 5);
    equal(edge.socket.ofKind(clientKinds.call).length, 1);
    edge.socket.reply([serverKinds.answer, 0, 1, null, "done"]);
    equal(await call, "done");
    device.close();
  });

  test("is not sent to an edge that takes none, nor above a frame's bound", async () => {
    const old = await calling([]);
    await rejects(old.device.call("orders", 1), fails("UNSUPPORTED", "not-done"));
    equal(old.edge.socket.ofKind(clientKinds.call).length, 0);
    const made = await calling();
    await rejects(
      made.device.call("orders", "x".repeat(64 * 1024)),
      fails("TOO_LARGE", "not-done"),
    );
    equal(made.device.state.name, "attached");
  });

  test("is one of a bounded number, and ends with the device", async () => {
    const { device, clock } = await calling();
    const calls = Array.from({ length: callsMax }, () => device.call("orders", 1));
    await rejects(device.call("orders", 1), fails("TOO_MANY", "not-done"));
    const ends = calls.map((call) => rejects(call, fails("CONNECTION_LOST", "unknown")));
    device.close();
    await Promise.all(ends);
    const waiting = rejects(device.call("orders", 1), fails("CLOSED", "not-done"));
    device.close();
    await waiting;
    equal(clock.pendingTimers, 0);
  });
});

describe("listeners", () => {
  test("hear what happens until they unsubscribe, each by itself", async () => {
    const made = await calling();
    const { edge, device, errors } = made;
    const heard: unknown[] = [];
    const listener = (value: unknown) => void heard.push(value);
    const stops = [
      device.on("recall", listener),
      device.on("recall", listener),
      device.on("passing", ({ id }) => heard.push(id)),
      device.on("config", listener),
      device.on("state", ({ name }) => heard.push(name)),
      device.on("recall", () => {
        throw new Error("a view");
      }),
    ];
    edge.socket.reply([serverKinds.recalled, 0, ["m1"]]);
    edge.socket.reply([serverKinds.passing, 0, "p1", null, 1]);
    edge.socket.reply([serverKinds.directive, { do: "config", config: { version: 7 } }]);
    deepEqual(heard, ["m1", "m1", "p1", { version: 7 }]);
    deepEqual(
      errors.map(({ code }) => code),
      ["HANDLER"],
    );
    stops[0]?.();
    stops[0]?.();
    edge.socket.reply([serverKinds.recalled, 0, ["m2"]]);
    deepEqual(heard.slice(4), ["m2"]);
    for (const stop of stops) stop();
    edge.socket.reply([serverKinds.recalled, 0, ["m3"]]);
    device.close();
    equal(heard.length, 5);
  });

  // The rejection of the slow one was nobody's, which ends a program in Node.
  test("of a type are all done before a message is refused", async () => {
    const { edge, clock, device, errors } = await calling();
    device.onType("chat", () => {
      return new Promise<void>((_, reject) => void clock.after(100, () => reject(new Error("b"))));
    });
    device.onType("chat", () => {
      throw new Error("a");
    });
    edge.socket.reply([serverKinds.message, 0, 1, 1, 0, "m1", { type: "chat" }, null]);
    await clock.settle();
    equal(edge.socket.closedWith, undefined);
    await clock.advanceAndSettle(100);
    equal(edge.socket.closedWith, 3003);
    equal(String(errors[0]?.cause), "Error: b");
    device.close();
  });

  test("of a type take its messages in the place of onMessage, and their refusal counts", async () => {
    const { edge, clock, device, taken } = await calling();
    const chats: string[] = [];
    let isFailing = false;
    const stops = [
      device.onType("chat", ({ id }) => void chats.push(`sync ${id}`)),
      device.onType("chat", async ({ id }) => {
        if (isFailing) throw new Error("disk full");
        chats.push(`async ${id}`);
      }),
    ];
    const send = async (seq: number, type: string): Promise<void> => {
      edge.socket.reply([serverKinds.message, 0, 1, seq, seq - 1, `m${seq}`, { type }, null]);
      await clock.advanceAndSettle(50);
    };
    await send(1, "chat");
    await send(2, "other");
    deepEqual(chats, ["sync m1", "async m1"]);
    deepEqual(ids(taken), ["m2"]);
    isFailing = true;
    await send(3, "chat");
    equal(edge.socket.closedWith, 3003);
    deepEqual(edge.socket.ofKind(clientKinds.ack).at(-1), [2, 0, 1, 2]);
    for (const stop of stops) stop();
    await clock.advanceAndSettle(1_000);
    accept({ edge }, [], 2);
    await send(3, "chat");
    deepEqual(ids(taken), ["m2", "m3"]);
    ok(device.position?.seq === 3);
    device.close();
  });
});
