/**
 * The body of a push of the load, 256 bytes: whose it is, the publisher's own number
 * of it within that user, and when it was due. By these numbers, and not by the
 * platform's, it is checked that nothing was lost, doubled or put out of order.
 */
export const bodyBytes = 256;

export interface BodyHead {
  readonly user: number;
  /** 1, 2, 3… within the user. */
  readonly number: number;
  readonly dueMs: number;
}

/** The smallest push command: `{body: <256 bytes>}` as msgpack. */
const commandHead = Uint8Array.of(0x81, 0xa4, 0x62, 0x6f, 0x64, 0x79, 0xc5, 0x01, 0x00);

export function newCommand(): Buffer {
  const command = Buffer.alloc(commandHead.length + bodyBytes, 0x2e);
  command.set(commandHead);
  return command;
}

export function writeBody(command: Buffer, user: number, number: number, dueMs: number): void {
  const at = commandHead.length;
  command.writeUInt32LE(user, at);
  command.writeUInt32LE(number, at + 4);
  command.writeDoubleLE(dueMs, at + 8);
}

/** The body is what a command, and every frame that carries a message, ends with. */
export function bodyOf(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.length - bodyBytes);
}

export function readBody(body: Buffer): BodyHead {
  return {
    user: body.readUInt32LE(0),
    number: body.readUInt32LE(4),
    dueMs: body.readDoubleLE(8),
  };
}
