/**
 * An edge for one user that a test plays, with a page of the SDK on the same port: what a
 * browser is sent, acknowledges and is told can be said frame by frame, also frames that
 * only some edges send. It keeps what is not acknowledged, as an inbox does.
 */
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { type WebSocket, WebSocketServer } from "ws";
import { clientKinds, encodeFrame, serverKinds } from "../../src/protocol/frames.js";

/** This file runs as dist/test/support/browser-edge.js. */
const root = fileURLToPath(new URL("../../../", import.meta.url));
const folders: readonly (readonly [string, string])[] = [
  ["/modules/npm/msgpackr/", join(root, "node_modules/msgpackr")],
  ["/modules/", join(root, "dist/src")],
];
const heartbeatMs = 30_000;

interface Stored {
  readonly seq: number;
  readonly id: string;
  readonly head: Record<string, unknown> | null;
  readonly body: unknown;
}

export class EdgePeer {
  readonly received: unknown[][] = [];
  hello: Record<string, unknown> = {};
  closeCode: number | undefined;
  sentSeq = 0;
  isAttached = false;

  constructor(readonly socket: WebSocket) {}

  send(frame: readonly unknown[]): void {
    this.socket.send(encodeFrame(frame, true), { binary: false });
  }

  ofKind(kind: number): unknown[][] {
    return this.received.filter((frame) => frame[0] === kind);
  }
}

export class BrowserEdge implements AsyncDisposable {
  readonly peers: EdgePeer[] = [];
  /** Each upgrade is refused so while it is set. */
  refusal: { readonly code: number; readonly reason: string } | undefined;
  /** What `/edges` answers; a status is a refusal. */
  dispatch: unknown = { edges: [] };
  generation = 1;
  ackedSeq = 0;
  private readonly stored: Stored[] = [];
  private lastSeq = 0;

  private constructor(private readonly server: Server) {
    const sockets = new WebSocketServer({
      server,
      path: "/connect",
      handleProtocols: () => "belfry.v1.json",
    });
    sockets.on("connection", (socket) => this.onConnection(socket));
  }

  static async start(): Promise<BrowserEdge> {
    let edge: BrowserEdge | undefined;
    const server = createServer((request, response) => void edge?.answer(request, response));
    edge = new BrowserEdge(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return edge;
  }

  /** `localhost`: only there a page without TLS is secure enough for locks and workers. */
  get pageUrl(): string {
    return `http://localhost:${(this.server.address() as AddressInfo).port}/`;
  }

  get url(): string {
    return `ws://localhost:${(this.server.address() as AddressInfo).port}/connect`;
  }

  /** The newest connection that is attached; throws where none is. */
  get peer(): EdgePeer {
    const peer = this.peers.findLast(
      ({ isAttached, closeCode }) => isAttached && closeCode === undefined,
    );
    if (peer === undefined) throw new Error("no client is attached");
    return peer;
  }

  get open(): number {
    return this.peers.filter(({ closeCode }) => closeCode === undefined).length;
  }

  /** Stores a message, and sends it where somebody is attached. */
  push(body: unknown, head: Record<string, unknown> | null = null): number {
    const seq = ++this.lastSeq;
    this.stored.push({ seq, id: `message-${String(seq).padStart(8, "0")}`, head, body });
    for (const peer of this.peers) if (peer.isAttached) this.deliver(peer);
    return seq;
  }

  notify(title: string): number {
    return this.push(title, { kind: "notification", notification: { title, body: "words" } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.peers) socket.terminate();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private onConnection(socket: WebSocket): void {
    if (this.refusal !== undefined) {
      socket.close(this.refusal.code, this.refusal.reason);
      return;
    }
    const peer = new EdgePeer(socket);
    this.peers.push(peer);
    socket.on("message", (data: Buffer) => this.onFrame(peer, JSON.parse(data.toString())));
    socket.on("error", () => {});
    socket.on("close", (code) => {
      peer.closeCode = code;
    });
  }

  private onFrame(peer: EdgePeer, frame: unknown[]): void {
    peer.received.push(frame);
    if (frame[0] === clientKinds.hello) this.attach(peer, frame[1] as Record<string, unknown>);
    if (frame[0] === clientKinds.ack && frame[2] === this.generation) {
      this.ackedSeq = Math.max(this.ackedSeq, Number(frame[3]));
    }
  }

  private attach(peer: EdgePeer, hello: Record<string, unknown>): void {
    peer.hello = hello;
    // The newest connection of the device wins.
    for (const other of this.peers) if (other !== peer) other.socket.close(4505, "replaced");
    const [generation, seq] = (hello.position ?? []) as number[];
    if (generation === this.generation) this.ackedSeq = Math.max(this.ackedSeq, seq ?? 0);
    const takes = [clientKinds.tell, clientKinds.call];
    const welcome = { v: 1, node: "n", connection: 1, heartbeatMs, frameBytesMax: 65_536, takes };
    peer.send([serverKinds.welcome, welcome]);
    const info = { app: "demo", uid: "alice", device: hello.device, tokenExpiresAt: 2_000_000_000 };
    peer.sentSeq = this.ackedSeq;
    peer.send([serverKinds.attached, 0, this.generation, this.ackedSeq, info]);
    peer.isAttached = true;
    this.deliver(peer);
  }

  private deliver(peer: EdgePeer): void {
    for (const { seq, id, head, body } of this.stored) {
      if (seq <= peer.sentSeq) continue;
      peer.send([serverKinds.message, 0, this.generation, seq, peer.sentSeq, id, head, body]);
      peer.sentSeq = seq;
    }
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", this.pageUrl);
    const send = (type: string, body: string | Buffer): void => {
      response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body);
    };
    if (pathname === "/") return send("text/html", page);
    if (pathname === "/worker.js") return send("text/javascript", worker);
    if (pathname === "/favicon.ico") return void response.writeHead(204).end();
    if (pathname === "/edges") {
      if (typeof this.dispatch === "number") {
        return void response.writeHead(this.dispatch, { "retry-after": "1" }).end();
      }
      return send("application/json", JSON.stringify(this.dispatch));
    }
    const [prefix, folder] = folders.find(([start]) => pathname.startsWith(start)) ?? [];
    if (prefix === undefined || folder === undefined) return void response.writeHead(404).end();
    const file = normalize(join(folder, pathname.slice(prefix.length)));
    if (!file.startsWith(folder + sep)) return void response.writeHead(404).end();
    const type = file.endsWith(".js") ? "text/javascript" : "application/json";
    await readFile(file).then(
      (bytes) => send(type, bytes),
      () => response.writeHead(404).end(),
    );
  }
}

/** `begin` makes the tab's device; what it is given stands in `log`, and outlasts a reload. */
const page = `<!doctype html><meta charset="utf-8"><title>SDK</title>
<script type="importmap">{ "imports": { "msgpackr": "/modules/npm/msgpackr/index.js" } }</script>
<script type="module">
  import { createDevice } from "/modules/client/device-client.js";
  import { createSharedDevice } from "/modules/client/shared-device.js";
  const log = JSON.parse(sessionStorage.getItem("log") ?? "[]");
  const note = (kind, value) => {
    log.push([kind, value]);
    sessionStorage.setItem("log", JSON.stringify(log));
  };
  const claims = btoa(JSON.stringify({ app: "demo", sub: "alice" }));
  window.log = log;
  window.begin = (given = {}) => {
    const make = given.share === undefined ? createDevice : createSharedDevice;
    window.device = make({
      url: "ws://" + location.host + "/connect",
      protocol: "belfry.v1.json",
      getToken: async () => "e30." + claims + ".c2ln",
      start: "all",
      backoff: { baseMs: 50, capMs: 200 },
      onMessage: ({ body }) => note("message", body),
      onTap: ({ body }) => note("tap", body),
      onState: ({ name }) => note("state", name),
      onError: ({ code, message }) => note("error", code + " " + message),
      ...given,
    });
    window.device.connect();
  };
  window.isReady = true;
</script>`;

const worker = `import { serveNotifications } from "/modules/client/service-worker.js";
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
serveNotifications(self);
// A test cannot click on the system's display; this is what the system would do.
self.addEventListener("message", async ({ data }) => {
  const shown = await self.registration.getNotifications();
  const notification = shown.find(({ title }) => title === data.click);
  if (notification !== undefined) {
    self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
  }
});`;
