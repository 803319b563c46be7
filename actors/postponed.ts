/**
 * What a session cannot take yet stands in one line, pushes and what services ask of the
 * inbox alike: all of it is taken in the order in which it came.
 *
 *   a push finds no MsgID time reserved ──▶ waits for the commit that reserves more
 *   an erasure finds writes under way ──▶ waits until all is on disk, and then for its own
 *   what comes while anything waits ──▶ behind it
 */
import { answerRefused } from "./push-answering.js";
import type { Postponed, SessionDesk } from "./session-desk.js";

/** A reservation takes one commit, an erasure two; more than this in the meantime is refused. */
const postponedMax = 256;

export function mustWait(desk: SessionDesk): boolean {
  return desk.postponed !== undefined || desk.isErasing;
}

/** False when the line is full: it was refused. */
export function postpone(desk: SessionDesk, message: Postponed): boolean {
  desk.postponed ??= [];
  if (desk.postponed.length >= postponedMax) {
    answerRefused(desk.context.node.bus, message.reply, "OVERLOADED");
    return false;
  }
  desk.postponed.push(message);
  return true;
}

/** The session ends before their turn: nothing was done for them. */
export function refusePostponed(desk: SessionDesk): void {
  const { postponed } = desk;
  desk.postponed = undefined;
  if (postponed === undefined || !desk.mayServe) return;
  for (const { reply } of postponed) answerRefused(desk.context.node.bus, reply, "NOT_READY");
}
