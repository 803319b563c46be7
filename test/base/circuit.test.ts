import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Circuit } from "../../src/base/circuit.js";

describe("a circuit", () => {
  test("opens after so many failures in a row, and not before", () => {
    const circuit = new Circuit(2);
    circuit.noteFailure(10);
    circuit.noteSuccess(11);
    circuit.noteFailure(12);
    assert.equal(circuit.isOpen, false);
    circuit.noteFailure(13);
    assert.deepEqual([circuit.isOpen, circuit.trips], [true, 1]);
  });

  test("opens for one that is slow", () => {
    const circuit = new Circuit(2);
    circuit.noteSlow(10);
    circuit.noteSlow(11);
    assert.deepEqual([circuit.isOpen, circuit.trips], [true, 1]);
  });

  test("closes for a success that began since it opened, not for an earlier one", () => {
    const circuit = new Circuit(1);
    circuit.noteFailure(10);
    circuit.noteSuccess(9);
    assert.equal(circuit.isOpen, true);
    circuit.noteSuccess(10);
    assert.equal(circuit.isOpen, false);
  });
});
