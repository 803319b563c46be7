/**
 * Two apps and two users of each on one WebSocket, on real processes: pushed to all the while,
 * through the death of an owner, a cut connection, an unbind and a replacement. Nothing is lost
 * or shown twice, and what ends one session ends no other.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { BoundSession, Device } from "../../src/client/device-client.js";
import { NatsBus } from "../../src/drivers/nats-bus.js";
import { packValue, unpackValue } from "../../src/protocol/codec.js";
import type { PushAnswer } from "../../src/protocol/push-answer.js";
import { sessionKey, shardOfKey } from "../../src/protocol/shards.js";
import { pushUserSubject } from "../../src/protocol/subjects.js";
import { EdgeSockets } from "../support/edge-sockets.js";
import { readTable } from "../support/placement-state.js";
import { type Platform, startPlatform } from "../support/platform.js";
import { until } from "../support/until.js";

class User {
  readonly shown: number[] = [];
  readonly accepted: number[] = [];
  session: Device | BoundSession | undefined;

  constructor(
    readonly app: string,
    readonly uid: string,
  ) {}

  get name(): string {
    return `${this.uid} of ${this.app}`;
  }

  get state(): string {
    return this.session?.state.name ?? "none";
  }
}

class Pusher implements AsyncDisposable {
  /** Why one was not accepted. */
  lastFailure = "";
  private number = 0;
  private isOn = true;
  private readonly work: Promise<void>;

  constructor(
    private readonly platform: Platform,
    private readonly users: readonly User[],
  ) {
    this.work = this.run();
  }

  /** Each round to all of them at once, as fast as they answer. */
  private async run(): Promise<void> {
    while (this.isOn) {
      const number = ++this.number;
      await Promise.all(this.users.map((user) => this.push(user, number)));
    }
  }

  private async push({ app, uid, accepted }: User, number: number): Promise<void> {
    const bytes = packValue({ body: number, id: `n${number}` });
    const bus = new NatsBus(this.platform.operator);
    const failure = await bus.request(pushUserSubject(app, uid), bytes, 2_000).then(
      (answer) => {
        const { ok, ...why } = unpackValue(answer) as PushAnswer;
        return ok ? undefined : JSON.stringify(why);
      },
      (error) => String(error),
    );
    if (failure === undefined) {
      accepted.push(number);
      return;
    }
    this.lastFailure = `${app} ${uid}: ${failure}`;
    await delay(20);
  }

  async rounds(count: number): Promise<void> {
    const wanted = this.users.map(({ accepted }) => accepted.length + count);
    await until("all are pushed to", () =>
      this.users.every(({ accepted }, at) => accepted.length >= (wanted[at] ?? 0)),
    ).catch((error) => {
      throw new Error(`${error}; ${this.lastFailure}`);
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async stop(): Promise<void> {
    this.isOn = false;
    await this.work;
  }
}

async function ownersOf(platform: Platform, users: readonly User[]): Promise<string[]> {
  const table = await readTable(platform);
  return users.map(({ app, uid }) => {
    return table.ownerOf(shardOfKey(sessionKey(app, uid)))?.nodeId ?? "";
  });
}

/** Two users of an app, the first of a's and the second of b's shards. */
async function usersOf(platform: Platform, app: string): Promise<User[]> {
  const names = Array.from({ length: 64 }, (_, at) => new User(app, `user-${at}`));
  const owners = await ownersOf(platform, names);
  return ["dc1-a", "dc1-b"].map((node) => {
    const user = names[owners.indexOf(node)];
    if (user === undefined) throw new Error(`no user of ${app} is ${node}'s`);
    return user;
  });
}

test("several apps and users share one socket, and nothing is lost or doubled for any", async () => {
  await using platform = await startPlatform();
  await platform.registerApp({ app: "shop" });
  const users = [...(await usersOf(platform, "demo")), ...(await usersOf(platform, "shop"))];
  const [first, second, third, fourth] = users as [User, User, User, User];
  // The edge outlives the owner that is killed.
  const sockets = new EdgeSockets(platform, ["b"]);
  const tokenOf = ({ app, uid }: User) => platform.token(uid, { app });
  const device = platform.device(first.uid, {
    ...{ urls: sockets.urls, socket: sockets.socketOf("phone"), device: "phone" },
    onMessage: ({ body }) => void first.shown.push(body as number),
  });
  first.session = device;
  const bind = (user: User) => {
    user.session = device.bind({
      ...{ getToken: () => tokenOf(user), start: "all" },
      onMessage: ({ body }) => void user.shown.push(body as number),
    });
  };
  for (const user of [second, third, fourth]) bind(user);
  const areAttached = (some: readonly User[] = users) =>
    some.every(({ state }) => state === "attached");
  await until("all are attached", () => areAttached());

  await using pusher = new Pusher(platform, users);
  await pusher.rounds(50);
  await platform.killNode("a");
  await platform.untilPlaced();
  await pusher.rounds(50);
  assert.ok(areAttached(), "an owner's death ends no session");
  assert.equal(sockets.openedBy("phone"), 1);

  sockets.cut("phone");
  await until("all are back", () => sockets.openedBy("phone") === 2 && areAttached());
  await pusher.rounds(20);

  (fourth.session as BoundSession).unbind();
  const shownBefore = fourth.shown.length;
  await pusher.rounds(20);
  assert.ok(areAttached([first, second, third]));
  // What was on its way when it was unbound is not shown, and not acknowledged.
  assert.equal(fourth.shown.length, shownBefore);
  bind(fourth);
  await until("it is back", () => areAttached());

  // Another installation of that name: it knows nothing of what was shown and not acknowledged.
  const shownElsewhere: number[] = [];
  const elsewhere = platform.device(second.uid, {
    ...{ urls: sockets.urls, socket: sockets.socketOf("other"), device: "phone" },
    onMessage: ({ body }) => void shownElsewhere.push(body as number),
  });
  await until("it is replaced", () => second.state === "stopped");
  second.session = elsewhere;
  await until("all are attached", () => areAttached());
  await pusher.rounds(20);
  assert.equal(sockets.openedBy("phone"), 2);
  await pusher.stop();

  for (const user of users) {
    const { name, shown, accepted } = user;
    const later = user === second ? shownElsewhere : [];
    await until(`${name} has all that was accepted`, () => {
      const seen = new Set([...shown, ...later]);
      return accepted.every((number) => seen.has(number));
    });
    for (const list of [shown, later]) {
      const inOrder = [...new Set(list)].sort((a, b) => a - b);
      assert.deepEqual(list, inOrder, `${name}: in order, none twice`);
    }
    assert.ok(accepted.length >= 160, `${name}: ${accepted.length}`);
  }
});
