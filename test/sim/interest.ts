/** Who subscribes what, as the bus's server knows it: whole subjects, and `a.b.>`. */
import { assert } from "../../src/base/assert.js";

export class Interest<Subscriber> {
  private readonly bySubject = new Map<string, Set<Subscriber>>();

  add(subject: string, subscriber: Subscriber): void {
    assert(!subject.includes("*"), "the simulated bus knows no `*`");
    const known = this.bySubject.get(subject);
    if (known === undefined) this.bySubject.set(subject, new Set([subscriber]));
    else known.add(subscriber);
  }

  remove(subject: string, subscriber: Subscriber): void {
    const known = this.bySubject.get(subject);
    known?.delete(subscriber);
    if (known?.size === 0) this.bySubject.delete(subject);
  }

  collect(subject: string): Subscriber[] {
    const found = [...(this.bySubject.get(subject) ?? [])];
    for (let dot = subject.indexOf("."); dot >= 0; dot = subject.indexOf(".", dot + 1)) {
      found.push(...(this.bySubject.get(`${subject.slice(0, dot)}.>`) ?? []));
    }
    return found;
  }
}
