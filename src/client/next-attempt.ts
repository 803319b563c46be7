/** What an attempt to connect needs before its socket: what is stored, a token, an address. */
import { randomToken } from "../base/random.js";
import type { AppHandlers } from "./app-handlers.js";
import type { DeviceOptions } from "./device-options.js";
import type { DeviceParts } from "./device-parts.js";
import type { EdgePlace } from "./edge-finder.js";
import { accountOf } from "./token-account.js";
import { fetchToken } from "./token-fetch.js";
import { tokenTimeoutMs } from "./token-refresh.js";
import type { UserInbox } from "./user-inbox.js";

export interface AttemptParts {
  readonly options: DeviceOptions;
  readonly parts: DeviceParts;
  readonly inbox: UserInbox;
  readonly app: AppHandlers;
}

/** `wait`: nothing to connect with now, and why. */
export type Attempt =
  | { readonly token: string; readonly place: EdgePlace }
  | { readonly wait: string };

const deviceIdLength = 20;

/** Undefined as soon as `isWanted` says that nobody waits for it any more. */
export async function nextAttempt(
  { options, parts, inbox, app }: AttemptParts,
  isWanted: () => boolean,
): Promise<Attempt | undefined> {
  const { memory, heartbeats, finder, holds, pace, clock } = parts;
  const loads = [memory.load(), heartbeats.load(), finder.load()];
  const [heldMs] = await Promise.all([holds.load(), ...loads]);
  if (!isWanted()) return undefined;
  if (heldMs > 0) {
    pace.hold(heldMs);
    return { wait: "a server asked to wait" };
  }
  let token: string;
  try {
    token = await fetchToken(options, clock, tokenTimeoutMs);
  } catch (cause) {
    if (!isWanted()) return undefined;
    app.report("TOKEN", "getToken failed", cause);
    return { wait: "no token" };
  }
  const account = accountOf(options, token);
  if (account !== undefined) await inbox.expect(account);
  if (!isWanted()) return undefined;
  const place = await finder.find(token, nameDevice(options, parts));
  if (!isWanted()) return undefined;
  return "wait" in place ? place : { token, place };
}

function nameDevice({ device }: DeviceOptions, { memory, random }: DeviceParts): string {
  if (device !== undefined) memory.device = device;
  return memory.device ?? memory.nameDevice(randomToken(random, deviceIdLength));
}
