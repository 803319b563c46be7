/** PROXY protocol, version 2, as a proxy writes it. */
const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");

/** 203.0.113.9:4711 to 10.0.0.1:443. */
export const overTcp4 = Buffer.from("cb0071090a000001126701bb", "hex");
/** [2001:db8::5]:4711 to [fd00::1]:443. */
export const overTcp6 = Buffer.from(
  "20010db8000000000000000000000005fd000000000000000000000000000001126701bb",
  "hex",
);

/** `more`: bytes of extensions behind the addresses. */
export function binaryHeader(command: number, family: number, addresses: Buffer, more = 0): Buffer {
  const head = Buffer.from([command, family, 0, 0]);
  head.writeUInt16BE(addresses.length + more, 2);
  return Buffer.concat([signature, head, addresses, Buffer.alloc(more)]);
}
