/** Who subscribes what, as the bus's server knows it: whole subjects, and `a.b.>`. */
import { assert } from "../../src/base/assert.js";

export class Interest<Subscriber extends object> {
  /** Almost every subject has one subscriber, which spares a set for each. */
  private readonly bySubject = new Map<string, Subscriber | Set<Subscriber>>();

  add(subject: string, subscriber: Subscriber): void {
    assert(!subject.includes("*"), "the simulated bus knows no `*`");
    const known = this.bySubject.get(subject);
    if (known === undefined || known === subscriber) this.bySubject.set(subject, subscriber);
    else if (known instanceof Set) known.add(subscriber);
    else this.bySubject.set(subject, new Set([known, subscriber]));
  }

  remove(subject: string, subscriber: Subscriber): void {
    const known = this.bySubject.get(subject);
    if (known === subscriber) this.bySubject.delete(subject);
    if (!(known instanceof Set)) return;
    known.delete(subscriber);
    if (known.size === 0) this.bySubject.delete(subject);
  }

  collect(subject: string): Subscriber[] {
    const found: Subscriber[] = [];
    this.collectFrom(subject, found);
    for (let dot = subject.indexOf("."); dot >= 0; dot = subject.indexOf(".", dot + 1)) {
      this.collectFrom(`${subject.slice(0, dot)}.>`, found);
    }
    return found;
  }

  private collectFrom(pattern: string, found: Subscriber[]): void {
    const known = this.bySubject.get(pattern);
    if (known instanceof Set) found.push(...known);
    else if (known !== undefined) found.push(known);
  }
}
