/**
 * What will happen, earliest first. Events of one instant come in the order of their
 * ties, which are random: whatever may race does, in some seed.
 */
export interface SimEvent {
  readonly atMs: number;
  readonly tie: number;
  readonly order: number;
  /** Goes into the trace hash. */
  readonly label: string;
  readonly run: () => void;
  isCancelled: boolean;
}

export class EventHeap {
  private readonly slots: SimEvent[] = [];

  get size(): number {
    return this.slots.length;
  }

  push(event: SimEvent): void {
    const { slots } = this;
    let at = slots.length;
    slots.push(event);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = slots[above] as SimEvent;
      if (isBefore(parent, event)) break;
      slots[at] = parent;
      at = above;
    }
    slots[at] = event;
  }

  pop(): SimEvent | undefined {
    const { slots } = this;
    const first = slots[0];
    const last = slots.pop();
    if (first === undefined || last === undefined || slots.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= slots.length) break;
      const right = child + 1;
      const isRight =
        right < slots.length && isBefore(slots[right] as SimEvent, slots[child] as SimEvent);
      if (isRight) child = right;
      if (isBefore(last, slots[child] as SimEvent)) break;
      slots[at] = slots[child] as SimEvent;
      at = child;
    }
    slots[at] = last;
    return first;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  if (a.atMs !== b.atMs) return a.atMs < b.atMs;
  return a.tie !== b.tie ? a.tie < b.tie : a.order < b.order;
}
