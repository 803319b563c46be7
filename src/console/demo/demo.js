/**
 * The demo page: one user's device in the browser, on the SDK as any app uses it.
 * The node serves this folder under /demo and the SDK's modules under /modules.
 */
import { createDevice } from "/modules/client/device-client.js";

const rowsMax = 500;
const storedKeys = ["device", "connect", "position", "seen"];
const element = (id) => document.getElementById(id);

let device;
let user = "";
let count = 0;

element("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(element("user").value);
});
element("disconnect").addEventListener("click", () => device.close());
element("reconnect").addEventListener("click", () => device.connect());
element("forget").addEventListener("click", () => {
  device.close();
  for (const key of storedKeys) localStorage.removeItem(storagePrefix() + key);
  signIn(user);
});

// Two tabs of one user are one device: the newer one takes over. That is the point of
// a stored device, and worth seeing.
element("user").value = localStorage.getItem("belfry.demo.user") ?? "alice";
showCommand(element("user").value);
element("user").addEventListener("input", (event) => showCommand(event.target.value));

function signIn(name) {
  device?.close();
  user = name;
  localStorage.setItem("belfry.demo.user", name);
  showCommand(name);
  showTrouble();
  element("pushes").replaceChildren();
  element("empty").hidden = false;
  count = 0;
  element("count").textContent = "0";
  device = createDevice({
    url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/connect`,
    getToken: developmentToken,
    platform: "web",
    start: "all",
    storagePrefix: storagePrefix(),
    onMessage: showPush,
    onPassing: showPush,
    onState: showState,
    onError: (error) => showTrouble(error),
  });
  device.connect();
}

/** Each user has a device of his own here. */
function storagePrefix() {
  return `belfry.demo.${user}.`;
}

/** Only a node in demo mode gives these; an app asks its own service. */
async function developmentToken() {
  const response = await fetch("/demo/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  if (!response.ok) throw new Error(`the node gave no token: ${response.status}`);
  return (await response.json()).token;
}

function showState(state) {
  const field = element("state");
  field.dataset.state = state.name;
  field.textContent = describe(state);
  if (state.name === "attached") {
    element("device").textContent = state.device;
    showTrouble();
  }
  const isAway = state.name === "idle" || state.name === "stopped";
  element("disconnect").disabled = isAway;
  element("reconnect").disabled = !isAway && state.name !== "waiting";
  element("forget").disabled = false;
  // The base of a new attach is known a moment after the state.
  queueMicrotask(showPosition);
}

function describe(state) {
  switch (state.name) {
    case "waiting":
      return `waiting ${state.retryInMs} ms: ${state.reason}`;
    case "stopped":
      return `stopped by ${state.code}: ${state.reason}`;
    default:
      return state.name;
  }
}

function showPosition() {
  const position = device.position;
  element("position").textContent =
    position === undefined ? "–" : `${position.seq} (generation ${position.generation})`;
}

function showPush({ id, position, acceptedAtMs, head, body }) {
  const row = document.createElement("tr");
  const time = acceptedAtMs === undefined ? "" : new Date(acceptedAtMs).toLocaleTimeString();
  const cells = [time, position?.seq ?? "passing", head.type ?? "", asText(body), id];
  for (const [index, text] of cells.entries()) {
    const cell = document.createElement("td");
    if (index === 3) cell.className = "body";
    cell.textContent = text;
    row.append(cell);
  }
  const rows = element("pushes");
  rows.prepend(row);
  if (rows.children.length > rowsMax) rows.lastElementChild.remove();
  element("empty").hidden = true;
  element("count").textContent = ++count;
  // It counts as taken once this function has returned.
  queueMicrotask(showPosition);
}

function asText(body) {
  if (body instanceof Uint8Array) return `${body.length} bytes`;
  return typeof body === "string" ? body : JSON.stringify(body);
}

function showCommand(name) {
  const quoted = `'${name.replaceAll("'", "'\\''")}'`;
  element("command").textContent = `npx belfry push demo ${quoted} '{"text":"hello"}'`;
}

function showTrouble(error) {
  const field = element("trouble");
  field.hidden = error === undefined;
  const cause = error?.cause instanceof Error ? `: ${error.cause.message}` : "";
  field.textContent = error === undefined ? "" : `${error.message}${cause}`;
}
