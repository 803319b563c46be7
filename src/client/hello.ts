/** What a device says first: who it is, where it left off, and what is around it. */
import type { Clock } from "../base/clock.js";
import { protocolVersion } from "../protocol/frames.js";
import type { DeviceMemory } from "./device-memory.js";
import type { DeviceOptions } from "./device-options.js";
import { accountOfToken } from "./token-account.js";

/** Hello's map; counts the connection. */
export function helloOf(
  token: string,
  options: Pick<DeviceOptions, "start" | "platform">,
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

/** What hello and bind say of a user. */
export function signInOf(
  token: string,
  { start, platform }: Pick<DeviceOptions, "start" | "platform">,
  memory: DeviceMemory,
): Record<string, unknown> {
  const position = memory.positionOf(accountOfToken(token));
  return {
    token,
    start: start ?? "new",
    ...(platform === undefined ? {} : { platform }),
    ...(position === undefined ? {} : { position: [position.generation, position.seq] }),
  };
}
