/** Deletes whatever a key holds now. */
import type { KeyValue } from "../../src/ports/key-value.js";

export async function deleteKey(keyValue: KeyValue, key: string): Promise<void> {
  const entry = await keyValue.get(key);
  if (entry !== undefined) await keyValue.delete(key, entry.revision);
}
