// A counter on the actor runtime alone, in a folder where `npm install belfry` was run.
import { Actor, createSystem } from "belfry/actor";
import { systemClock as clock, systemRandom as random } from "belfry/clock";

class Counter extends Actor {
  count = 0;
  get kind() {
    return { name: "counter", mailbox: { max: 1_000, onFull: "reject" }, restart: "permanent" };
  }
  receive(message, from) {
    if (message.kind === "Add") this.count += message.amount;
    if (message.kind === "ReadCount") from?.answer(this.count);
  }
}

const system = createSystem({ nodeId: "here", incarnation: "1", clock, random });
const counter = system.spawnRoot("counter", () => new Counter());
counter.tell({ kind: "Add", amount: 40 });
counter.tell({ kind: "Add", amount: 2 });
console.log(await system.ask(counter, { kind: "ReadCount" }, 1_000));
await system.stop(1_000);
