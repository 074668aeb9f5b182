"use strict";
const $ = (id) => document.getElementById(id);
const NAMES = { box: "box", padded_mailer: "mailer", poly_bag: "bag", item: "item" };
const KINDS = { suction: "suction", parallel_jaw: "jaws", "": "no grasp" };
const LEVELS = { ok: "all is well", warning: "warning", error: "error", stale: "not running" };
const START = ["what should I pick next?", "how many bags?", "which is the biggest?", "why not that one?", "help"];
const state = { socket: null, tries: 0, selected: 0, lit: [], packages: new Map(), grasps: [], size: [640, 480], times: [], url: "", last: 0 };

function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) { sessionStorage.setItem("token", given); history.replaceState(null, "", location.pathname); }
  return document.querySelector('meta[name="page-token"]').content || sessionStorage.getItem("token") || "";
}

function connect() {
  if (!token()) { askForToken("This console is open to other machines, so it asks for the token that it printed when it started."); return; }
  say("link", state.tries ? "connecting again" : "connecting");
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  state.socket = socket;
  socket.onopen = () => socket.send(JSON.stringify({ token: token(), session: sessionStorage.getItem("session") || "" }));
  socket.onmessage = (event) => (typeof event.data === "string" ? take(JSON.parse(event.data)) : show(event.data));
  socket.onclose = (event) => {
    state.socket = null;
    if (event.code === 4401) {
      sessionStorage.removeItem("token");
      if (document.querySelector('meta[name="page-token"]').content) { veil("The console was started again."); setTimeout(() => location.reload(), 1000); }
      else askForToken("That token is wrong. After five wrong ones within a minute even the right one has to wait.");
      return;
    }
    veil("Connection lost. Trying again.");
    say("link", "not connected");
    state.tries += 1;
    setTimeout(connect, Math.min(500 * 2 ** Math.min(state.tries, 4), 8000));
  };
}

function askForToken(words) {
  $("gate-words").textContent = words;
  if (!$("gate").open) $("gate").showModal();
}

function send(message) {
  if (state.socket && state.socket.readyState === WebSocket.OPEN) { state.socket.send(JSON.stringify(message)); return true; }
  line({ type: "reply", text: "Not connected: nothing was sent.", refused: "not connected" });
  return false;
}

function say(id, words) { if ($(id).textContent !== words) $(id).textContent = words; }
function veil(words) { $("veil").hidden = !words; say("veil", words); }

function take(message) {
  if (message.type === "welcome") {
    sessionStorage.setItem("session", message.session);
    state.tries = 0;
    say("link", "connected");
    $("log").replaceChildren();
    message.history.forEach((entry) => line(entry, true));
    suggest(START);
    send({ type: "hidden", hidden: document.hidden });
  } else if (message.type === "said" || message.type === "reply") {
    line(message);
    if (message.highlights) { state.lit = message.highlights; if (message.highlights.length === 1) select(message.highlights[0]); draw(); }
    if (message.suggestions && message.suggestions.length) suggest(message.suggestions);
  } else if (message.type === "ranking") rank(message.ranked);
  else if (message.type === "health") health(message);
  else if (message.type === "nothing") { select(0); }
  else if (message.type === "refused") line({ type: "reply", text: message.words, refused: message.words });
}

function line(entry, old) {
  const p = document.createElement("p");
  p.className = entry.type + (entry.asks ? " asks" : entry.refused ? " refused" : entry.done ? " done" : "");
  p.textContent = entry.text;
  const time = document.createElement("time");
  time.textContent = new Date((entry.at || Date.now() / 1000) * 1000).toLocaleTimeString();
  p.append(time);
  $("log").append(p);
  while ($("log").childElementCount > 200) $("log").firstElementChild.remove();
  $("log").scrollTop = $("log").scrollHeight;
  if (!old && entry.type === "said") $("ask").value = "";
}

function suggest(phrases) {
  $("suggestions").replaceChildren(...phrases.slice(0, 5).map((phrase) => {
    const button = document.createElement("button");
    button.textContent = phrase; button.dataset.say = phrase;
    return button;
  }));
  const known = new Set([...START, ...phrases, "only boxes", "the one on the left", "take that one", "never this one", "leave the bags for later", "undo", "start over"]);
  $("phrases").replaceChildren(...[...known].map((phrase) => Object.assign(document.createElement("option"), { value: phrase })));
}

function rank(rows) {
  const list = $("ranking");
  const old = new Map([...list.children].map((item) => [Number(item.dataset.id), item]));
  const items = rows.map((row) => {
    const item = old.get(row.id) || entry(row.id);
    const button = item.firstElementChild;
    const score = row.kind ? `${KINDS[row.kind]} ${Math.round(row.score * 100)} %` : "no grasp";
    button.className = row.kind ? "" : "none";
    item.dataset.kind = row.kind;
    const parts = [String(row.id), NAMES[row.name] || row.name, score, row.reasons.join("; ")];
    button.querySelectorAll("span").forEach((span, i) => { if (span.textContent !== parts[i]) span.textContent = parts[i]; });
    return item;
  });
  if (items.length !== list.childElementCount || items.some((item, i) => list.children[i] !== item)) {
    const focused = document.activeElement;
    list.replaceChildren(...items);
    if (list.contains(focused)) focused.focus({ preventScroll: true });
  }
  if (!rows.length && !list.childElementCount) { const empty = document.createElement("li"); empty.textContent = "Nothing in the list."; list.append(empty); }
  press();
}

function entry(id) {
  const item = document.createElement("li");
  item.dataset.id = id;
  const button = document.createElement("button");
  button.append(...["id", "name", "score", "why"].map((name) => Object.assign(document.createElement("span"), { className: name })));
  button.addEventListener("click", () => { select(id); send({ type: "ask", text: "", point: id }); });
  item.append(button);
  return item;
}

function select(id) { state.selected = id; press(); draw(); }

function press() {
  const seen = state.packages.get(state.selected);
  say("which", state.selected ? `Number ${state.selected}${seen ? ` (${NAMES[seen.name] || seen.name})` : ", out of sight"}` : "Nothing selected");
  document.querySelectorAll("#chosen button, #chosen select").forEach((element) => { element.disabled = !state.selected; });
  document.querySelectorAll("#ranking button").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.parentElement.dataset.id) === state.selected)));
}

function health(message) {
  $("light").className = `light ${message.level}`;
  const worst = message.lines.filter((part) => part[1] === message.level);
  const part = worst.find(([name]) => name !== "node") || worst[0];  // "node" is the worst of the others
  say("level", message.level === "ok" || !part ? LEVELS[message.level] : `${LEVELS[message.level]}: ${part[0]}`);
  $("parts").replaceChildren(...message.lines.filter(([name], i, all) => name !== "node" || all.length === 1).map(([name, level, words]) => {
    const item = document.createElement("li");
    const light = Object.assign(document.createElement("span"), { className: `light ${level}`, ariaHidden: "true" });
    const said = Object.assign(document.createElement("span"), { className: "sr", textContent: `, ${LEVELS[level]}` });
    item.append(light, Object.assign(document.createElement("strong"), { textContent: name }), said, words ? `: ${words}` : "");
    return item;
  }));
}

function show(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const url = URL.createObjectURL(new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" }));
  const picture = $("picture");
  URL.revokeObjectURL(state.url);  // of the picture before, also when it was never shown
  picture.src = state.url = url;
  if (frame.width !== state.size[0] || frame.height !== state.size[1]) {
    state.size = [frame.width, frame.height];
    $("stage").style.aspectRatio = `${frame.width} / ${frame.height}`;
  }
  const before = state.packages.has(state.selected);
  state.packages = new Map(frame.packages.map((item, i) => [item.id || -1 - i, item]));
  state.grasps = frame.grasps;
  state.last = performance.now();
  say("count", `${frame.packages.length} package${frame.packages.length === 1 ? "" : "s"}${frame.degraded ? `; ${frame.degraded}` : ""}`);
  for (const item of $("ranking").children) item.classList.toggle("gone", !state.packages.has(Number(item.dataset.id)));
  veil("");
  if (before !== state.packages.has(state.selected)) press();
  draw();
}

function draw() {
  const canvas = $("overlay"), pen = canvas.getContext("2d");
  const ratio = devicePixelRatio, unit = canvas.width / 640, [kx, ky] = [canvas.width / state.size[0], canvas.height / state.size[1]];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineCap = "round";
  for (const grasp of state.grasps) {
    const [a, b, c, d] = grasp.points.map(([x, y]) => [x * kx, y * ky]);
    const hue = Math.round(120 * Math.max(0, Math.min(1, grasp.score))), suction = grasp.kind === "suction";
    const shape = new Path2D();
    if (suction) {
      shape.arc(b[0], b[1], Math.max(Math.hypot(c[0] - a[0], c[1] - a[1]) / 2, 3 * unit), 0, 2 * Math.PI);
      shape.moveTo(...b); shape.lineTo(...d);
    } else {
      shape.moveTo(...a); shape.lineTo(...c);
      for (const [end, other] of [[a, c], [c, a]]) bar(shape, end, other, 8 * unit);
    }
    for (const [width, colour] of [[5, "#0009"], [2.5, `hsl(${hue} 90% ${suction ? 55 : 72}%)`]]) {
      pen.lineWidth = width * ratio; pen.strokeStyle = colour; pen.stroke(shape);
    }
  }
  pen.font = `600 ${13 * unit}px system-ui, sans-serif`; pen.textAlign = "center"; pen.textBaseline = "middle";
  for (const [id, item] of state.packages) {
    const [x, y, w, h] = [item.x * kx, item.y * ky, item.w * kx, item.h * ky], on = id === state.selected;
    if (on || state.lit.includes(id)) {
      pen.lineWidth = (on ? 4 : 3) * ratio; pen.strokeStyle = on ? "#ffd84d" : "#fff";
      pen.setLineDash(on ? [] : [6 * ratio, 4 * ratio]); pen.strokeRect(x - w / 2, y - h / 2, w, h); pen.setLineDash([]);
    }
    const words = id > 0 ? String(id) : "?", half = (6 + 4 * words.length) * unit, top = Math.max(y - 18 * unit, 12 * unit);
    pen.fillStyle = "#000c"; pen.fillRect(x - half, top - 10 * unit, 2 * half, 20 * unit);
    pen.fillStyle = "#fff"; pen.fillText(words, x, top + unit);
  }
}

function bar(shape, end, other, half) {
  const [dx, dy] = [other[0] - end[0], other[1] - end[1]], length = Math.hypot(dx, dy) || 1;
  const [px, py] = [(-dy / length) * half, (dx / length) * half];
  shape.moveTo(end[0] - px, end[1] - py); shape.lineTo(end[0] + px, end[1] + py);
}

new ResizeObserver(() => { $("log").scrollTop = $("log").scrollHeight; }).observe($("log"));  // the last line stays in sight
new ResizeObserver(() => {
  const canvas = $("overlay");
  [canvas.width, canvas.height] = [canvas.clientWidth * devicePixelRatio, canvas.clientHeight * devicePixelRatio];
  draw();
}).observe($("overlay"));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.say) send({ type: "ask", text: button.dataset.say.replace("{id}", state.selected), point: button.closest("#chosen") ? state.selected : 0 });
  if (button.dataset.outcome) {
    const success = button.dataset.outcome === "picked";
    const shown = document.querySelector(`#ranking li[data-id="${state.selected}"]`);
    send({ type: "outcome", id: state.selected, kind: shown ? shown.dataset.kind : "", success, failure: success ? "" : $("failure").value });
  }
});
$("picture").addEventListener("load", () => state.times.push(performance.now()));
$("picture").addEventListener("click", (event) => {
  const place = $("picture").getBoundingClientRect();
  send({ type: "click", x: (event.clientX - place.left) / place.width, y: (event.clientY - place.top) / place.height });
});
$("form").addEventListener("submit", (event) => { event.preventDefault(); send({ type: "ask", text: $("ask").value }); });
$("gate").addEventListener("close", () => { sessionStorage.setItem("token", $("token").value); $("token").value = ""; connect(); });
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName);
  if (event.key === "/" && !typing) { event.preventDefault(); $("ask").focus(); }
  if (event.key === "Escape" && !$("gate").open) { if (document.activeElement === $("ask") && $("ask").value) $("ask").value = ""; else select(0); }
});
document.addEventListener("visibilitychange", () => { if (state.socket) send({ type: "hidden", hidden: document.hidden }); });
setInterval(() => {
  const age = (performance.now() - state.last) / 1000;
  if (state.socket && state.last && age > 2) veil(`No new picture for ${Math.round(age)} s.`);
  else if (state.socket && !state.last) veil("Waiting for the first picture.");
  state.times = state.times.filter((at) => performance.now() - at < 2000);
  say("rate", state.times.length > 3 ? `${(state.times.length / 2).toFixed(0)} pictures a second` : "");
}, 500);
connect();
