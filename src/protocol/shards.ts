/**
 * The shard of a user: FNV-1a-32 over the bytes of the app's token, then the
 * uid's, modulo 4096. NATS computes the same with `{{partition(4096,1,2)}}`
 * (nats-server, subject_transform.go), so publishers need to know nothing.
 */
declare const shardBrand: unique symbol;
/** 0…4095. */
export type Shard = number & { readonly [shardBrand]: true };

export const shardCount = 4096;

export function isShard(value: unknown): value is Shard {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < shardCount;
}

/**
 * The group of a shard where a store has `groupCount` of them, a divisor of
 * `partitionCount`. Not neighbours: a hash modulo a divisor of 4096 then tells the group,
 * and NATS can compute that where it cannot divide (lanes are partitioned so).
 */
export function groupOfShard(shard: Shard, groupCount: number): number {
  return shard % groupCount;
}

/** Ascending; the first has the number of the group. */
export function shardsOfGroup(group: number, groupCount: number): Shard[] {
  const length = shardCount / groupCount;
  return Array.from({ length }, (_, at) => (group + at * groupCount) as Shard);
}

/** Lanes are stored by `shard % partitionCount`; every number of groups divides it. */
export const partitionCount = 64;

/** The partitions whose shards are all of `group`'s. */
export function partitionsOfGroup(group: number, groupCount: number): number[] {
  const length = partitionCount / groupCount;
  return Array.from({ length }, (_, at) => group + at * groupCount);
}

/** `appToken` and `uidToken` are encoded tokens, so each character is one byte. */
export function shardOf(appToken: string, uidToken: string): Shard {
  return ((fnv1a(uidToken, fnv1a(appToken, 0x811c9dc5)) >>> 0) % shardCount) as Shard;
}

/** The shard of a session key `<app>.<uid>`. */
export function shardOfKey(key: SessionKey): Shard {
  const dot = key.indexOf(".");
  return shardOf(key.slice(0, dot), key.slice(dot + 1));
}

declare const sessionKeyBrand: unique symbol;
/** `<app token>.<uid token>`, the tail of the user's subjects. */
export type SessionKey = string & { readonly [sessionKeyBrand]: true };

export function sessionKey(appToken: string, uidToken: string): SessionKey {
  return `${appToken}.${uidToken}` as SessionKey;
}

export function appOfKey(key: SessionKey): string {
  return key.slice(0, key.indexOf("."));
}

export function uidOfKey(key: SessionKey): string {
  return key.slice(key.indexOf(".") + 1);
}

function fnv1a(text: string, seed: number): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash;
}
