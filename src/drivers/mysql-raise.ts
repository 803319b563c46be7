/**
 * Raising fences. All of it is one packet: the fences are read FOR UPDATE in shard
 * order, and each is raised where the rule of the port lets it. Whoever raises and is
 * paused in the middle therefore holds no lock.
 *
 * A lock that is held all the same belongs to a writer that stopped between the packets
 * of a large transaction. Its connection is found by the named lock that each writer
 * keeps for as long as its connection lives, and whose name stands with the fence: a
 * connection's number could be another one's after the server started again.
 */
import { accepted, refused } from "../base/result.js";
import type { FenceAnswer, FenceRequest } from "../ports/inbox-store.js";
import type { Shard } from "../protocol/shards.js";
import type { MysqlPool } from "./mysql-pool.js";
import { lockingShardsQuery, type StoredShard } from "./mysql-shards.js";
import { numbers, packet, sql, utf8 } from "./mysql-text.js";
import type { Packet } from "./mysql-transaction.js";

/** Where the rows of `shardsQuery` stand in the packet's answers. */
export const raiseRowsAt = 1;

export function raisePacket(requests: readonly FenceRequest[], writer: string): Packet {
  const statements = [
    sql`START TRANSACTION`,
    lockingShardsQuery(requests.map(({ shard }) => shard)),
    ...alike(requests).map(
      ({ shards, request: { epoch, holder, reserveUntilMs } }) => sql`UPDATE shards SET
        epoch = ${epoch}, holder = ${utf8(holder)}, writer = ${utf8(writer)},
        version = version + 1, reserved_until_ms = GREATEST(reserved_until_ms, ${reserveUntilMs})
        WHERE shard IN (${numbers(shards)})
        AND (epoch < ${epoch} OR (epoch = ${epoch} AND holder = ${utf8(holder)}))`,
    ),
    sql`COMMIT`,
  ];
  return { sql: packet(statements), statementCount: statements.length };
}

/** What the packet did to a shard that stood at `before`; the same rule as in its SQL. */
export function judgeRaise(
  request: FenceRequest,
  before: StoredShard,
): { readonly answer: FenceAnswer; readonly after: StoredShard } {
  const { epoch, holder, reserveUntilMs } = request;
  if (epoch < before.epoch || (epoch === before.epoch && holder !== before.holder)) {
    return { answer: fenced(before), after: before };
  }
  const { lastChange, publishedChange, reservedUntilMs: previousReservedUntilMs } = before;
  return {
    answer: { ...accepted({ previousReservedUntilMs, lastChange, publishedChange }), epoch },
    after: {
      ...before,
      epoch,
      holder,
      version: before.version + 1,
      reservedUntilMs: Math.max(previousReservedUntilMs, reserveUntilMs),
    },
  };
}

export function fenced({ epoch, holder }: StoredShard) {
  return { ...refused("FENCED", `the shard's fence is ${epoch}, held by ${holder}`), epoch };
}

/** Requests in rounds, none of which names a shard twice. */
export function roundsOf(requests: readonly FenceRequest[]): FenceRequest[][] {
  const rounds: FenceRequest[][] = [];
  const counts = new Map<Shard, number>();
  for (const request of requests) {
    const round = counts.get(request.shard) ?? 0;
    counts.set(request.shard, round + 1);
    rounds[round] = [...(rounds[round] ?? []), request];
  }
  return rounds;
}

function alike(requests: readonly FenceRequest[]) {
  const groups = new Map<string, { request: FenceRequest; shards: Shard[] }>();
  for (const request of requests) {
    const { shard, epoch, holder, reserveUntilMs } = request;
    const name = `${epoch} ${reserveUntilMs} ${holder}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, { request, shards: [shard] });
    else group.shards.push(shard);
  }
  return [...groups.values()];
}

/** Ends the connections that hold these shards' fences, this one's own left out. */
export async function killWriters(
  pool: MysqlPool,
  shards: readonly Shard[],
  ownWriter: string,
  deadlineMs: number,
): Promise<number> {
  const endMs = performance.now() + deadlineMs;
  const leftMs = () => Math.max(1, endMs - performance.now());
  const holders = sql`SELECT DISTINCT IS_USED_LOCK(writer) FROM shards
    WHERE shard IN (${numbers(shards)}) AND writer NOT IN ('', ${utf8(ownWriter)})`;
  let killed = 0;
  for (const [id] of await pool.read(holders, leftMs())) {
    if (typeof id !== "number") continue;
    await pool.read(sql`KILL CONNECTION ${id}`, leftMs());
    killed++;
  }
  return killed;
}
