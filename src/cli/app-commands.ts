/**
 * `belfry app`: the registry of apps, one key per app in the bucket `apps`.
 *
 * A secret is printed when it is made and never again. Every change is a create or
 * a compare-and-set, so two operators at once never undo each other's.
 */
import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { assert } from "../base/assert.js";
import { refused } from "../base/result.js";
import type { AppSecret } from "../ports/tokens.js";
import {
  type AppRecord,
  appRecordVersion,
  decodeAppRecord,
  encodeAppRecord,
  liveSecretsMax,
} from "../protocol/app-record.js";
import { encodeToken } from "../protocol/tokens.js";
import { readApp } from "./app-registry.js";
import {
  addSettingFlags,
  describeSettings,
  type SettingFlags,
  setApp,
  settingRows,
} from "./app-settings.js";
import { appUsage } from "./app-usage.js";
import type { Fleet, NatsUserGrant } from "./fleet.js";
import type { CliWorld, Invocation } from "./invocation.js";
import { isAppName } from "./names.js";
import { exitCodes, type Outcome, report } from "./outcome.js";
import { headings, type Row, table } from "./text.js";

const secretBytes = 32;

export function declareApp(program: Command, invocation: Invocation): void {
  const { world } = invocation;
  const app = program
    .command("app")
    .summary("register apps and keep their secrets")
    .description("Registers apps and keeps their secrets.")
    .addHelpText("after", "\nExample:\n  belfry app create shop");
  const name = () =>
    new Argument("<name>", "1 to 64 of A-Z a-z 0-9 _ -").argParser(readName(world));
  app
    .command("create")
    .description("Registers an app and prints its secret, once.")
    .addArgument(name())
    .addOption(
      new Option("--delivery <policy>", "an entry goes when all devices acked, or the first")
        .choices(["each-device", "first-ack"])
        .default("each-device"),
    )
    .addHelpText("after", "\nExample:\n  belfry app create shop --json")
    .action(async (app: string, options: { delivery: AppRecord["delivery"] }) => {
      await invocation.withFleet((fleet) => create(fleet, world, app, options.delivery));
    });
  app
    .command("show")
    .description("Shows an app without its secrets.")
    .addArgument(name())
    .addHelpText("after", "\nExample:\n  belfry app show shop")
    .action(async (app: string) => {
      await invocation.withFleet((fleet) => show(fleet, app));
    });
  addSettingFlags(
    app
      .command("set")
      .description("Sets limits of an app and which events it is told; the rest stays as it is.")
      .addArgument(name()),
  )
    .addHelpText("after", "\nExample:\n  belfry app set shop --pushes-per-second 500")
    .action(async (app: string, flags: SettingFlags) => {
      await invocation.withFleet((fleet) => setApp(fleet, app, flags));
    });
  app
    .command("usage")
    .description("Sums what the nodes measure of an app: connections, pushes, what is stored.")
    .addArgument(name())
    .addHelpText("after", "\nExample:\n  belfry app usage shop --json")
    .action(async (app: string) => {
      await invocation.withFleet((fleet) => appUsage(fleet, app));
    });
  app
    .command("list")
    .description("Lists the apps.")
    .addHelpText("after", "\nExample:\n  belfry app list")
    .action(async () => {
      await invocation.withFleet(list);
    });
  app
    .command("rotate-secret")
    .description("Makes a new secret and prints it, once; the one before it stays good.")
    .addArgument(name())
    .addHelpText("after", "\nExample:\n  belfry app rotate-secret shop")
    .action(async (app: string) => {
      await invocation.withFleet((fleet) => rotate(fleet, world, app));
    });
}

function readName(world: CliWorld): (text: string) => string {
  return (text) => {
    if (!isAppName(text)) throw new InvalidArgumentError("It is 1 to 64 of A-Z a-z 0-9 _ -.");
    if (world.isReservedAppName(text)) throw new InvalidArgumentError("The name is reserved.");
    return text;
  };
}

async function create(
  fleet: Fleet,
  world: CliWorld,
  app: string,
  delivery: AppRecord["delivery"],
): Promise<Outcome> {
  const secret = makeSecret(world, []);
  const record: AppRecord = {
    v: appRecordVersion,
    app,
    secrets: [secret],
    delivery,
    createdAtMs: world.clock.wallMs(),
  };
  const apps = await fleet.apps();
  const created = await apps.create(encodeToken(app), encodeAppRecord(record));
  if (!created.ok) return refused("CONFLICT", `an app ${app} is registered already`);
  // From here on the secret has to be shown: it is nowhere else to be read.
  const nats = await fleet.addNatsUser(app);
  const { kid, secret: text } = secret;
  const document = { ...describe(record), kid, secret: text, natsUrl: fleet.natsUrl, nats };
  return report(
    document,
    (paint) => {
      const rows: Row[] = [
        ["app", { text: app, style: "bold" }],
        ["secret", `${text}  (signs clients' tokens; not shown again)`],
        ["kid", kid],
        ["nats", fleet.natsUrl],
      ];
      return [table([...rows, ...grantRows(nats)], paint), ...grantAdvice(nats)].join("\n");
    },
    nats.state === "failed" ? exitCodes.refused : exitCodes.done,
  );
}

function grantRows(nats: NatsUserGrant): Row[] {
  if (nats.state !== "added") return [];
  return [
    ["user", nats.user],
    ["password", nats.password],
    ["inbox prefix", nats.inboxPrefix],
  ];
}

function grantAdvice(nats: NatsUserGrant): string[] {
  switch (nats.state) {
    case "added":
      return [];
    case "yours-to-add":
      return ["", "Add to the NATS server's configuration, then reload it:", nats.block];
    case "failed":
      return ["", `The app is registered, but its NATS user is not made: ${nats.message}`];
  }
}

async function show(fleet: Fleet, app: string): Promise<Outcome> {
  const found = await readApp(await fleet.apps(), app);
  if (!found.ok) return found;
  const { record } = found.value;
  const document = { ...describe(record), ...describeSettings(record) };
  return report(document, (paint) =>
    table(
      [
        ["app", { text: app, style: "bold" }],
        ["created", document.createdAt],
        ["kids", document.kids.join(", ")],
        ...settingRows(record),
      ],
      paint,
    ),
  );
}

async function list(fleet: Fleet): Promise<Outcome> {
  const entries = await (await fleet.apps()).list("");
  const apps = entries
    .flatMap((entry) => decodeAppRecord(entry.value) ?? [])
    .map(describe)
    .sort((a, b) => (a.app < b.app ? -1 : 1));
  const unreadable = entries.length - apps.length;
  return report({ apps, unreadable }, (paint) => {
    const rows = apps.map((app) => [app.app, app.createdAt, app.delivery, app.kids.join(", ")]);
    const note = unreadable === 0 ? "" : `\n${unreadable} of a version unknown here`;
    return table([headings("APP", "CREATED", "DELIVERY", "KIDS"), ...rows], paint) + note;
  });
}

async function rotate(fleet: Fleet, world: CliWorld, app: string): Promise<Outcome> {
  const apps = await fleet.apps();
  const found = await readApp(apps, app);
  if (!found.ok) return found;
  const { record, revision } = found.value;
  const secret = makeSecret(world, record.secrets);
  const secrets = [secret, ...record.secrets].slice(0, liveSecretsMax);
  const ended = record.secrets.slice(liveSecretsMax - 1).map(({ kid }) => kid);
  const changed: AppRecord = { ...record, secrets };
  const updated = await apps.update(encodeToken(app), encodeAppRecord(changed), revision);
  if (!updated.ok) return refused("CONFLICT", `somebody else changed app ${app} just now`);
  const document = { ...describe(changed), kid: secret.kid, secret: secret.secret, ended };
  return report(document, (paint) =>
    table(
      [
        ["app", { text: app, style: "bold" }],
        ["secret", `${secret.secret}  (not shown again)`],
        ["kid", secret.kid],
        [
          "still good",
          secrets
            .slice(1)
            .map(({ kid }) => kid)
            .join(", ") || null,
        ],
        ["ended", ended.join(", ") || null],
      ],
      paint,
    ),
  );
}

/** All that may be shown of an app. */
function describe({ app, createdAtMs, delivery, secrets }: AppRecord) {
  return {
    app,
    createdAtMs,
    createdAt: stamp(createdAtMs),
    delivery,
    kids: secrets.map(({ kid }) => kid),
  };
}

/** Null for a time that no calendar has: the record may be anybody's. */
function stamp(atMs: number): string | null {
  const date = new Date(atMs);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** Its kid tells the day that it was made and differs from those of `others`. */
function makeSecret(world: CliWorld, others: readonly AppSecret[]): AppSecret {
  const day = new Date(world.clock.wallMs()).toISOString().slice(0, 10).replaceAll("-", "");
  const kid = `${day}-${Buffer.from(world.randomBytes(4)).toString("hex")}`;
  assert(!others.some((other) => other.kid === kid), "randomness repeats itself");
  return { kid, secret: Buffer.from(world.randomBytes(secretBytes)).toString("base64url") };
}
