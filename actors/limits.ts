import { answerBytesMax } from "../src/protocol/uplink-call.js";

/** Every bound of a node in one place, with the value it has unless configured. */
export interface Limits {
  /** Sent and unacked messages of one device. */
  readonly windowMessagesMax: number;
  readonly windowBytesMax: number;
  /** Stored messages of one session. */
  readonly inboxMessagesMax: number;
  readonly inboxBytesMax: number;
  readonly devicesMax: number;
  readonly deviceUnseenMs: number;
  /** What is stored of when a connected device was seen is at most so old. */
  readonly deviceSeenEveryMs: number;
  /** Unacked for so long while connected: sent again. */
  readonly ackWaitMs: number;
  /** Sent so often without an ack, over all attaches and owners: set aside. */
  readonly attemptsMax: number;
  /** Sendings of one message that are closer are one attempt, but for the first ones. */
  readonly attemptSpacingMs: number;
  /** So many in a row were set aside for a device: it is stalled, and sent no more. */
  readonly setAsideMax: number;
  /** Idempotency keys that one session remembers, and for how long. */
  readonly keysMax: number;
  readonly keyWindowMs: number;
  /** Pushes of a shard group that wait for their commit. */
  readonly uncommittedMax: number;
  readonly uncommittedBytesMax: number;
  /** The least that the measured bound of waiting pushes comes down to. */
  readonly uncommittedMin: number;
  /** As many pushes of a group wait as its store was seen to commit within so long. */
  readonly commitDrainMs: number;
  /** A commit under way for longer: what needs the store is refused until a probe comes through. */
  readonly commitSlowMs: number;
  /** A push that waited so long for its shard is refused, those of lower priority before. */
  readonly pushWaitMaxMs: number;
  /** Requests of a node that wait for their answer. */
  readonly openRequestsMax: number;
  /** Pushes a second to one user, whatever the app may: one user must not starve the others. */
  readonly userPushesPerSecond: number;
  /** Operations of services on inboxes: each reads what may be a whole inbox. */
  readonly userInboxOpsPerSecond: number;
  readonly appInboxOpsPerSecond: number;
  /** Users whose rate a node keeps in mind; see base/bucket-table. */
  readonly userBucketsMax: number;
  /** MsgID time reserved ahead with the fence. */
  readonly reserveMs: number;
  readonly connectionsMax: number;
  /** Handshakes that an edge takes; one more waits in line. */
  readonly acceptsPerSecond: number;
  readonly acceptsBurst: number;
  /** In line for that rate; who would wait longer is refused. */
  readonly acceptWaitMsMax: number;
  /** Until one who is refused for now is told, where there are descriptors for it; 0: at once. */
  readonly refusalHoldMs: number;
  /** From this lag of the loop on no handshake is taken. */
  readonly acceptLagMaxMs: number;
  /** From the accepted socket to the whole head of its request. */
  readonly handshakeDeadlineMs: number;
  /**
   * Under way at once beyond what connections leave room for; who waits longest gives way to
   * the next. Where there is room a slow network's storm is to come through.
   */
  readonly handshakesMax: number;
  /** Sockets of plain HTTP requests at once: who asked longest ago gives way to the next. */
  readonly askingMax: number;
  readonly helloDeadlineMs: number;
  /** Of a client that says nothing of its network and asks for nothing. */
  readonly heartbeatMs: number;
  /** Nothing heard for so long at that interval, and at others in proportion: closed. */
  readonly heartbeatDeadlineMs: number;
  /** Of clients that say what they are connected by; see topology/heartbeat. */
  readonly heartbeatWifiMs: number;
  readonly heartbeatCellularMs: number;
  readonly heartbeatEthernetMs: number;
  readonly heartbeatFrontMs: number;
  /** Whatever is asked for. */
  readonly heartbeatMinMs: number;
  readonly heartbeatMaxMs: number;
  /** So much of what is in transit puts the deadline off: each KiB a second. */
  readonly inTransitBytesMax: number;
  /** Heads, frames and messages that are not whole, of all of an edge's peers. */
  readonly unfinishedBytesMax: number;
  /** One connection is read so fast, each 4 KiB counting as one more; above, more slowly. */
  readonly connectionFramesPerSecond: number;
  readonly connectionFramesBurst: number;
  /** Bound to one connection at once; and of an edge, all beside the first of each. */
  readonly sessionsPerConnectionMax: number;
  readonly furtherSessionsMax: number;
  /** Of one connection: each costs a token check, and its owner what an attach costs. */
  readonly bindsPerSecond: number;
  readonly bindsBurst: number;
  /** Unsent bytes of one connection: above half, no QoS 0; beyond, it is closed. */
  readonly connectionBufferBytesMax: number;
  /** Clients' calls to services under way, and what they carry. */
  readonly sessionCallsMax: number;
  readonly userCallsMax: number;
  readonly appCallsMax: number;
  readonly edgeCallsMax: number;
  readonly edgeCallBytesMax: number;
  /** Of what a service answered, as a frame. */
  readonly callAnswerBytesMax: number;
  /** Of all of an edge's connections; beyond, who is behind longest is closed. */
  readonly unsentBytesMax: number;
  /** A client that was told to move and is still there so long after is closed. */
  readonly moveWithinMs: number;
  /** A node that stops gives its clients so long to move, all of them. */
  readonly edgeLeaveMs: number;
  /** Of an edge's connections, every 10 ms: sent to the owners of their shards to be attached. */
  readonly attachesPerTick: number;
  /** So many of them at once, as they come; further ones wait for the next and go together. */
  readonly attachesAtOnce: number;
  /** An attach that is not answered is sent again; each time later, up to the second. */
  readonly attachRetryMs: number;
  readonly attachRetryMsMax: number;
  /** An edge that has confirmed has attached its connections within so long. */
  readonly attachedWithinMs: number;
  /** An edge that does not confirm for so long keeps nobody from counting as away. */
  readonly presenceGraceMs: number;
  /** A user whose last connection is gone for so long is announced as offline. */
  readonly offlineAfterMs: number;
  /** Whether somebody looks at the app is announced of one user no more often. */
  readonly appStateEveryMs: number;
  /** Every so often it is looked whether a user announced as online is there: owners may have died. */
  readonly onlineCheckMs: number;
  readonly tokenGraceMs: number;
  readonly tokenNoticeMs: number;
  readonly closeDeadlineMs: number;
  readonly leaseMs: number;
  readonly leaseMarginMs: number;
  /** A dead node's inbox has had no responders for so long: it is replaced. */
  readonly silenceMs: number;
  readonly probeEveryMs: number;
  /** How long a new master waits for nodes to appear before it first places shards. */
  readonly settleMs: number;
  readonly requestDeadlineMs: number;
  /** Pushes that a group's intake holds while the group does not serve. */
  readonly heldPushesMax: number;
  readonly heldBytesMax: number;
  /** All intakes of a node together; one that takes over may hold as much as one intake more. */
  readonly nodeHeldPushesMax: number;
  readonly nodeHeldBytesMax: number;
  /** Both owners of a moving group are subscribed for at least so long. */
  readonly moveOverlapMs: number;
  /** The old owner's sessions end what they were given within so long, or are stopped. */
  readonly freezeMaxMs: number;
  /** A new owner waits so long for the old one's hand-over, then serves without it. */
  readonly moveDeadlineMs: number;
  /** A new owner that does not serve so long after it was given a unit has failed. */
  readonly moveStuckMs: number;
  /** For so long it is given only what nobody else can take. */
  readonly shunMs: number;
  /** Messages a second, of all nodes: below, the leader moves nothing for load. */
  readonly loadFloorPerSecond: number;
  /** A new leader waits so long for all nodes to report what they carry. */
  readonly loadGraceMs: number;
  /** Between any move and the next one for load. */
  readonly loadPauseMs: number;
  /** A unit that was moved for balance stays so long where it is. */
  readonly moveRestMs: number;
  readonly healthProbeEveryMs: number;
  /** The health actor's own timer comes later than this: the loop lags. */
  readonly loopLagMaxMs: number;
  /**
   * A group's store takes no write for so long: it is stalled. What is known of it is up to
   * two probes old at each look, so it is to be several times `healthProbeEveryMs`.
   */
  readonly storeStallMaxMs: number;
  /** A group that was assigned serves within so long. */
  readonly openMaxMs: number;
  /** So many bad probes in a row make unwell, so many good ones well again. */
  readonly badProbesMax: number;
  readonly goodProbesMin: number;
  /** Unwell for at least so long, doubling with each relapse up to the second. */
  readonly unwellMs: number;
  readonly unwellMsMax: number;
  /** Batches of the delivery journal that could not be kept yet; beyond, their steps are lost. */
  readonly journalUnkeptBytesMax: number;
}

const second = 1_000;
const minute = 60 * second;
const day = 24 * 60 * minute;

export const defaultLimits: Limits = {
  windowMessagesMax: 64,
  windowBytesMax: 256 * 1024,
  inboxMessagesMax: 10_000,
  inboxBytesMax: 16 * 1024 * 1024,
  devicesMax: 20,
  deviceUnseenMs: 30 * day,
  deviceSeenEveryMs: day,
  ackWaitMs: 30 * second,
  attemptsMax: 5,
  // A link that breaks at once has broken for half a minute before anything is set aside.
  attemptSpacingMs: 10 * second,
  setAsideMax: 3,
  keysMax: 1_000,
  keyWindowMs: 10 * minute,
  uncommittedMax: 20_000,
  uncommittedBytesMax: 64 * 1024 * 1024,
  uncommittedMin: 64,
  // With what is in flight an answer takes up to twice as long: well within its deadline.
  commitDrainMs: second,
  // Above what a disk under load takes now and then, and time for a probe within a deadline.
  commitSlowMs: 2 * second,
  pushWaitMaxMs: 2 * second,
  // 5 s, the deadline, of all that two cores can take.
  openRequestsMax: 200_000,
  // A thirtieth of what a node on two cores accepts. Twice as many may come at once.
  userPushesPerSecond: 1_000,
  userInboxOpsPerSecond: 20,
  appInboxOpsPerSecond: 1_000,
  // One takes 16 bytes and its key. At the default rate a bucket is full again after 1 ms for
  // each push it let through, so far fewer are in use at any moment.
  userBucketsMax: 65_536,
  reserveMs: 10 * second,
  connectionsMax: 18_000,
  // What one core is to bear with token check and attach; all of an edge that died in 4 s.
  acceptsPerSecond: 5_000,
  // Whoever comes above it waits: a second's worth at once would be a second's pause for others.
  acceptsBurst: 500,
  // With the attach behind it well below what the SDK waits for one, 15 s.
  acceptWaitMsMax: 4 * second,
  refusalHoldMs: 3 * second,
  // Far above the budget of 20 ms, below what clients notice as an outage.
  acceptLagMaxMs: 250,
  handshakeDeadlineMs: 10 * second,
  handshakesMax: 1_000,
  askingMax: 500,
  helloDeadlineMs: 10 * second,
  heartbeatMs: 30 * second,
  heartbeatDeadlineMs: 75 * second,
  heartbeatWifiMs: 2 * minute,
  // Each one wakes a radio; a client whose network forgets sooner asks for less once it has seen it.
  heartbeatCellularMs: 4 * minute,
  heartbeatEthernetMs: minute,
  heartbeatFrontMs: minute,
  heartbeatMinMs: 15 * second,
  heartbeatMaxMs: 5 * minute,
  // One whole frame of a client.
  inTransitBytesMax: 64 * 1024,
  // Beside 4 KiB for each, which are not counted: 3.6 KiB for each of 18,000.
  unfinishedBytesMax: 64 * 1024 * 1024,
  // Twice what one user may be pushed, should it ack each message by itself.
  connectionFramesPerSecond: 2_000,
  connectionFramesBurst: 4_000,
  sessionsPerConnectionMax: 8,
  // One beside each connection, on average.
  furtherSessionsMax: 18_000,
  // All that a connection may carry, twice over, and one now and then.
  bindsPerSecond: 2,
  bindsBurst: 16,
  connectionBufferBytesMax: 1024 * 1024,
  // As many as the SDK makes at once.
  sessionCallsMax: 64,
  // Those of connections that are gone count until they end: who comes and goes gains nothing.
  userCallsMax: 256,
  // One app's slow service leaves the others half.
  appCallsMax: 2_048,
  edgeCallsMax: 4_096,
  edgeCallBytesMax: 16 * 1024 * 1024,
  callAnswerBytesMax: answerBytesMax,
  // So many at their own bound are 3 % of all connections.
  unsentBytesMax: 512 * 1024 * 1024,
  // A token may have to be fetched first, for which a client gives its app longer still.
  moveWithinMs: 10 * second,
  // Within what supervisors of processes wait between SIGTERM and SIGKILL: 10 s and up.
  edgeLeaveMs: 6 * second,
  attachesPerTick: 200,
  // 800 a second: above, a batch for each costs edge, bus and owner more than 10 ms of waiting.
  attachesAtOnce: 8,
  attachRetryMs: 500,
  attachRetryMsMax: 5 * second,
  // 18,000 connections leave in 0.9 s, and cost one owner 1.4 s of its core.
  attachedWithinMs: 5 * second,
  // A dead node's edge is known to be gone by then: lease and margin are 4 s.
  presenceGraceMs: 10 * second,
  // A client that changes networks, or whose edge died, is back by then.
  offlineAfterMs: 10 * second,
  // Each is a write to the store and an event; who flips faster is told as it stands then.
  appStateEveryMs: 5 * second,
  // A row in the store for each connected user of an app that wants presence, every so often.
  onlineCheckMs: 5 * minute,
  tokenGraceMs: 30 * second,
  tokenNoticeMs: minute,
  closeDeadlineMs: 5 * second,
  leaseMs: 3 * second,
  leaseMarginMs: second,
  silenceMs: 300,
  probeEveryMs: 100,
  settleMs: second,
  requestDeadlineMs: 5 * second,
  heldPushesMax: 20_000,
  heldBytesMax: 64 * 1024 * 1024,
  // 5 s, the deadline, of some 30,000 pushes a second, when all groups begin at once.
  nodeHeldPushesMax: 160_000,
  nodeHeldBytesMax: 256 * 1024 * 1024,
  moveOverlapMs: 50,
  freezeMaxMs: 2 * second,
  // Above what freezing and a close of the store may take: who opens it kills its holder.
  moveDeadlineMs: 15 * second,
  // Above that deadline and the time in which a store opens whose holder has to be killed.
  moveStuckMs: 30 * second,
  shunMs: 5 * minute,
  loadFloorPerSecond: 1_000,
  loadGraceMs: 10 * second,
  loadPauseMs: 30 * second,
  moveRestMs: 2 * minute,
  healthProbeEveryMs: second,
  // Far above what a busy loop shows (the budget is 20 ms), below what costs the lease.
  loopLagMaxMs: second,
  // Disks under load have been seen to take seconds over a flush; moving costs more than that.
  storeStallMaxMs: 8 * second,
  // The killed holder of a volume is waited for 5 s; a backoff after a crash is as long.
  openMaxMs: 12 * second,
  // A paused process has one bad probe when it goes on.
  badProbesMax: 3,
  goodProbesMin: 10,
  unwellMs: 30 * second,
  unwellMsMax: 10 * minute,
  // Some seconds of a node at full load.
  journalUnkeptBytesMax: 8 * 1024 * 1024,
};
