/** What a lane's worker tells itself. What carries a `take` counts in that take alone. */
import type { LaneFeed } from "../src/ports/lanes.js";
import type { ErrorAnswer } from "../src/protocol/errors.js";
import type { PushAnswer } from "../src/protocol/push-answer.js";
import type { SessionKey } from "../src/protocol/shards.js";
import type { PlacedMessage } from "./lane-queue.js";

interface LaneTaken {
  readonly kind: "LaneTaken";
  readonly take: number;
  readonly feed: LaneFeed;
}

interface LaneGiven {
  readonly kind: "LaneGiven";
  readonly take: number;
  readonly message: PlacedMessage;
}

interface LaneEnded {
  readonly kind: "LaneEnded";
  readonly take: number;
  readonly reason: string;
}

export interface LaneWidened {
  readonly kind: "LaneWidened";
  readonly take: number;
  readonly partition: number;
  /** Undefined where that was refused, or is not known. */
  readonly window: number | undefined;
}

export interface LaneRead {
  readonly kind: "LaneRead";
  readonly take: number;
  readonly message: PlacedMessage;
  readonly read:
    | { readonly ok: true; readonly payload: Uint8Array | undefined }
    | { readonly ok: false; readonly reason: string };
}

export interface PushAnswered {
  readonly kind: "PushAnswered";
  readonly take: number;
  readonly sequence: number;
  readonly answer: PushAnswer;
}

interface RetryTick {
  readonly kind: "RetryTick";
  readonly take: number;
  readonly key: SessionKey;
}

interface BuryTick {
  readonly kind: "BuryTick";
  readonly take: number;
  readonly message: PlacedMessage;
  readonly refusal: ErrorAnswer;
}

export interface LetterKept {
  readonly kind: "LetterKept";
  readonly take: number;
  readonly message: PlacedMessage;
  readonly refusal: ErrorAnswer;
  readonly reason: string;
}

interface LetterBuried {
  readonly kind: "LetterBuried";
  readonly take: number;
  readonly message: PlacedMessage;
}

interface RetakeTick {
  readonly kind: "RetakeTick";
}

interface SweepTick {
  readonly kind: "SweepTick";
}

export type LaneWorkerMessage =
  | LaneTaken
  | LaneGiven
  | LaneEnded
  | LaneWidened
  | LaneRead
  | PushAnswered
  | RetryTick
  | BuryTick
  | LetterKept
  | LetterBuried
  | RetakeTick
  | SweepTick;
