/** The part of a WebSocket that the SDK uses: the browser's and `ws`'s both have it. */

/** A method's parameters are compared both ways, which the events of both libraries need. */
type Listener<Event> = { on(event: Event): void }["on"];

export interface DeviceSocket {
  binaryType: string;
  readonly readyState: number;
  onopen: Listener<unknown> | null;
  onmessage: Listener<{ data: unknown }> | null;
  /** `retryAfterMs` of a handshake that was refused, where the platform tells: browsers do not. */
  onclose: Listener<{ code: number; reason: string; retryAfterMs?: number }> | null;
  onerror: Listener<unknown> | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

export type DeviceSocketConstructor = new (url: string, protocols: string[]) => DeviceSocket;
