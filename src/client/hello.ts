/** What a device says first: who it is, where it left off, and what is around it. */
import type { Clock } from "../base/clock.js";
import { protocolVersion } from "../protocol/frames.js";
import type { DeviceMemory } from "./device-memory.js";
import type { DeviceOptions } from "./device-options.js";
import { accountOf } from "./token-account.js";

export type SignInOptions = Pick<DeviceOptions, "start" | "platform" | "app" | "user">;

/** Hello's map; counts the connection. */
export function helloOf(
  token: string,
  options: SignInOptions,
  memory: DeviceMemory,
  clock: Clock,
): Record<string, unknown> {
  return {
    v: protocolVersion,
    ...signInOf(token, options, memory),
    device: memory.device,
    connect: memory.nextConnect(Math.floor(clock.wallMs())),
  };
}

/** What hello and bind say of a user; without a memory it is not known who it is. */
export function signInOf(
  token: string,
  options: SignInOptions,
  memory: DeviceMemory | undefined,
): Record<string, unknown> {
  const { start, platform } = options;
  const position = memory?.positionOf(accountOf(options, token));
  return {
    token,
    start: start ?? "new",
    ...(platform === undefined ? {} : { platform }),
    ...(position === undefined ? {} : { position: [position.generation, position.seq] }),
  };
}
