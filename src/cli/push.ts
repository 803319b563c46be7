/** `belfry push`: one push command, and its answer. */
import { type Command, Option } from "commander";
import { accepted, type Result, refused } from "../base/result.js";
import { decodePushCommand, ttlSecondsMax } from "../protocol/push-command.js";
import type { Fleet } from "./fleet.js";
import type { Invocation } from "./invocation.js";
import { refuseUser, wholeNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";

interface PushOptions {
  readonly id?: string;
  readonly qos?: string;
  readonly ttl?: number;
  readonly collapse?: string;
  readonly type?: string;
  readonly kind?: string;
  readonly title?: string;
  readonly text?: string;
  readonly url?: string;
  readonly targetDevice?: string;
  readonly priority?: string;
}

export function declarePush(program: Command, invocation: Invocation): void {
  program
    .command("push")
    .summary("push a message to a user")
    .description("Pushes a message to all devices of a user and prints the platform's answer.")
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user, as the app names them")
    .argument("<body>", "JSON, or a string when it is none")
    .option("--id <key>", "idempotency key, good for 10 minutes")
    .addOption(new Option("--qos <level>", "0: at most once; 1: stored first").choices(["0", "1"]))
    .option("--ttl <seconds>", "how long it is worth delivering", wholeNumber(1, ttlSecondsMax))
    .option("--collapse <key>", "replaces what waits under the same key")
    .option("--type <name>", "what it is, for handlers and figures")
    .addOption(
      new Option("--kind <kind>", "notification when a title, text or url is given").choices([
        "notification",
        "transparent",
      ]),
    )
    .option("--title <title>", "title of the notification")
    .option("--text <text>", "text of the notification")
    .option("--url <url>", "what the notification opens")
    .option("--target-device <device>", "only this device of the user")
    .addOption(new Option("--priority <lane>").choices(["high", "normal", "low"]))
    .addHelpText("after", `\nExample:\n  belfry push demo alice '{"text":"hello"}'`)
    .action(async (app: string, uid: string, body: string, options: PushOptions) => {
      const payload = encodeCommand(body, options);
      const refusal = payload.ok ? refuseUser(app, uid) : payload;
      if (refusal !== undefined) invocation.print(refusal);
      else if (payload.ok) {
        await invocation.withFleet((fleet) => push(fleet, app, uid, payload.value));
      }
    });
}

async function push(fleet: Fleet, app: string, uid: string, payload: Uint8Array): Promise<Outcome> {
  const answer = await fleet.push(app, uid, payload);
  if (!answer.ok) return answer;
  return report(answer, () => {
    const place = answer.seq === 0 ? "handed on" : `stored as seq ${answer.seq}`;
    const before = answer.duplicate ? " (answered before, to the same id)" : "";
    return `${answer.id}  ${place}${before}`;
  });
}

function encodeCommand(body: string, options: PushOptions): Result<Uint8Array> {
  const payload = new TextEncoder().encode(JSON.stringify(commandOf(body, options)));
  const command = decodePushCommand(payload);
  if (command.ok) return accepted(payload);
  // Too large is the platform's own refusal; the rest are options that make no sense.
  return command.code === "BODY_TOO_LARGE" ? command : refused("USAGE", command.message);
}

function commandOf(body: string, options: PushOptions): Record<string, unknown> {
  const { id, ttl, collapse, type, priority, title, text, url } = options;
  const display = withoutAbsent({ title, body: text, url });
  const isDisplayed = Object.keys(display).length > 0;
  return withoutAbsent({
    body: bodyOf(body),
    id,
    ttl,
    collapse,
    type,
    priority,
    qos: options.qos === undefined ? undefined : Number(options.qos),
    kind: options.kind ?? (isDisplayed ? "notification" : undefined),
    notification: isDisplayed ? display : undefined,
    target: options.targetDevice === undefined ? undefined : { device: options.targetDevice },
  });
}

function bodyOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function withoutAbsent(map: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => value !== undefined));
}
