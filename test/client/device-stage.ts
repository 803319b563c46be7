/** A device before a fake edge, on virtual time. */
import {
  createDevice,
  type Device,
  type DeviceError,
  type DeviceMessage,
  type DeviceOptions,
  type DeviceState,
} from "../../src/client/device-client.js";
import { memoryStorage } from "../../src/client/platform.js";
import { VirtualClock } from "../support/virtual-clock.js";
import { FakeEdge, tokenFor } from "./fake-edge.js";

export interface Stage {
  readonly edge: FakeEdge;
  readonly clock: VirtualClock;
  readonly device: Device;
  readonly taken: DeviceMessage[];
  readonly states: DeviceState[];
  readonly errors: DeviceError[];
  readonly options: DeviceOptions;
}

export function stage(given: Partial<DeviceOptions> = {}): Stage {
  const edge = new FakeEdge();
  const clock = (given.clock as VirtualClock | undefined) ?? new VirtualClock();
  const taken: DeviceMessage[] = [];
  const states: DeviceState[] = [];
  const errors: DeviceError[] = [];
  const options: DeviceOptions = {
    url: "ws://edge/connect",
    getToken: async () => tokenFor("alice"),
    onMessage: (message) => void taken.push(message),
    onState: (state) => states.push(state),
    onError: (error) => errors.push(error),
    storage: memoryStorage(),
    socket: edge.constructorForClients,
    random: { next: () => 0.5 },
    clock,
    ...given,
  };
  return { edge, clock, device: createDevice(options), taken, states, errors, options };
}

export async function connected(given: Partial<DeviceOptions> = {}): Promise<Stage> {
  const made = stage(given);
  made.device.connect();
  await made.clock.settle();
  made.edge.socket.accept();
  return made;
}

export const ids = (messages: readonly DeviceMessage[]) => messages.map(({ id }) => id);
export const phases = (states: readonly DeviceState[]) => states.map(({ name }) => name);

/** An app that takes each message when the test says so: `started` in order, `finish` the same. */
export function slowApp() {
  const finish: (() => void)[] = [];
  const started: string[] = [];
  const onMessage = ({ id }: { readonly id: string }) => {
    started.push(id);
    return new Promise<void>((resolve) => void finish.push(resolve));
  };
  return { finish, started, onMessage };
}
