/** JSON as Belfry writes it. Bytes have no JSON form: `{"$base64": "…"}` stands for them. */
export function toJson(value: unknown): string {
  // Node's Buffer has a toJSON, which runs before the replacer is given the value;
  // the replacer's `this` still holds the bytes themselves.
  return JSON.stringify(value, function (this: Record<string, unknown>, key, field) {
    const raw = this[key];
    return raw instanceof Uint8Array ? { $base64: base64(raw) } : field;
  });
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
