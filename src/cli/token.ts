/** `belfry token`: a client's token for development, signed with the app's newest secret. */
import { type Command, InvalidArgumentError } from "commander";
import { refused } from "../base/result.js";
import type { Claims } from "../ports/tokens.js";
import { routeBytesMax } from "../protocol/call-frames.js";
import { isShortText } from "../protocol/short-text.js";
import { readApp } from "./app-registry.js";
import type { Fleet } from "./fleet.js";
import type { CliWorld, Invocation } from "./invocation.js";
import { refuseUser, wholeNumber } from "./names.js";
import { type Outcome, report } from "./outcome.js";

interface TokenOptions {
  readonly device?: string;
  readonly routes?: readonly string[];
  readonly ttl: number;
}

const ttlSecondsDefault = 3_600;
const ttlSecondsMax = 30 * 24 * 3_600;

export function declareToken(program: Command, invocation: Invocation): void {
  program
    .command("token")
    .summary("make a client's token for development")
    .description(
      "Prints a token with which a client connects as the user. For development: a service " +
        "signs its users' tokens itself, with any JWT library and the app's secret.",
    )
    .argument("<app>", "the app's name")
    .argument("<uid>", "the user")
    .option("--device <device>", "good for this device only")
    .option(
      "--routes <route...>",
      "may call services by these routes only (default: by all)",
      route,
    )
    .option("--ttl <seconds>", "until it expires", wholeNumber(1, ttlSecondsMax), ttlSecondsDefault)
    .addHelpText("after", "\nExample:\n  belfry token demo alice --ttl 600")
    .action(async (app: string, uid: string, options: TokenOptions) => {
      const badUser = refuseUser(app, uid);
      if (badUser !== undefined) return invocation.print(badUser);
      await invocation.withFleet((fleet) => token(fleet, invocation.world, app, uid, options));
    });
}

function route(text: string, before: readonly string[] = []): readonly string[] {
  if (isShortText(text, routeBytesMax)) return [...before, text];
  throw new InvalidArgumentError(`It is a route, of 1 to ${routeBytesMax} bytes.`);
}

async function token(
  fleet: Fleet,
  world: CliWorld,
  app: string,
  uid: string,
  { device, routes, ttl }: TokenOptions,
): Promise<Outcome> {
  const found = await readApp(await fleet.apps(), app);
  if (!found.ok) return found;
  const secret = found.value.record.secrets[0];
  if (secret === undefined) return refused("NOT_FOUND", `app ${app} has no secret; rotate-secret`);
  const claims: Claims = {
    app,
    sub: uid,
    exp: Math.floor(world.clock.wallMs() / 1000) + ttl,
    jti: Buffer.from(world.randomBytes(12)).toString("base64url"),
    ...(device === undefined ? {} : { device }),
    ...(routes === undefined ? {} : { routes }),
  };
  const signed = await world.signer.sign(claims, secret);
  return report({ token: signed, claims }, () => signed);
}
