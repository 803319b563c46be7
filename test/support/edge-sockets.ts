/**
 * The WebSockets of a test's devices: which are open, and to which node. Devices know
 * nodes by name, so that one that starts again on another port is found again.
 *
 *   urls: sockets.urls, socket: sockets.socketOf("alice/phone")
 */
import { WebSocket } from "ws";
import type { DeviceSocketConstructor } from "../../src/client/device-client.js";
import type { Platform } from "./platform.js";

/** Nobody listens there: what a node that is down looks like. */
const nowhere = "ws://127.0.0.1:1/";

export class EdgeSockets {
  private readonly open = new Map<WebSocket, { readonly node: string; readonly device: string }>();
  /** How often each device has opened one. */
  private readonly opened = new Map<string, number>();

  constructor(
    private readonly platform: Platform,
    private readonly nodes: readonly string[],
  ) {}

  get urls(): string[] {
    return this.nodes.map((name) => `ws://${name}`);
  }

  openOn(node: string): number {
    return [...this.open.values()].filter((socket) => socket.node === node).length;
  }

  openedBy(device: string): number {
    return this.opened.get(device) ?? 0;
  }

  /** As when the device's machine is gone: nothing more leaves it, an ack neither. */
  cut(device: string): void {
    for (const [socket, its] of this.open) if (its.device === device) socket.terminate();
  }

  /** The constructor that one device is given. */
  socketOf(device: string): DeviceSocketConstructor {
    const sockets = this;
    const Socket = class extends WebSocket {
      constructor(url: string, protocols: string[]) {
        const node = sockets.nameOf(url);
        super(sockets.platform.nodes.get(node)?.edgeUrl ?? nowhere, protocols);
        this.once("open", () => sockets.onOpen(device, this, node));
        this.once("close", () => sockets.open.delete(this));
      }
    };
    return Socket as unknown as DeviceSocketConstructor;
  }

  /** An edge tells its clients of others by their real addresses. */
  private nameOf(url: string): string {
    const told = [...this.platform.nodes.values()].find((node) => node.edgeUrl === url);
    return told?.name ?? new URL(url).hostname;
  }

  private onOpen(device: string, socket: WebSocket, node: string): void {
    this.open.set(socket, { node, device });
    this.opened.set(device, this.openedBy(device) + 1);
  }
}
