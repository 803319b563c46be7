/** What went wrong in a device and was dealt with: for logs, never thrown. */

/** - TOKEN: `getToken` failed. CONNECTION: a connection ended or could not be made.
 *  - HANDLER: `onMessage`, `onPassing` `onTap` or `onState` threw. STORAGE: it could not be
 *    read or written. DISPATCHER: it gave no usable answer.
 *  - REFUSED: the edge refused a token or the attach. NOTIFIER: nothing could be shown.
 *  - TABS: other tabs could not be told. */
export type DeviceErrorCode =
  | "TOKEN"
  | "CONNECTION"
  | "HANDLER"
  | "STORAGE"
  | "DISPATCHER"
  | "REFUSED"
  | "NOTIFIER"
  | "TABS";

export class DeviceError extends Error {
  override readonly name = "DeviceError";

  constructor(
    readonly code: DeviceErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
