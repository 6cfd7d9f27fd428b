"use strict";
/*
 * The link to the daemon: /monitoring/history once, then a snapshot a second from /monitoring/stream, and what the page says when nothing comes. Read with fetch
 * rather than EventSource, because only fetch can carry the API key. A daemon that hangs closes nothing, so the page's own clock watches: after SILENCE_MS
 * without an event the figures are old and say so, and an attempt that got nothing in that time is given up for the next one.
 */
const SILENCE_MS = 5000, WATCH_MS = 1000, FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 8000;

/* heard: when the last event came; moved: when the current attempt began or last brought something; turn: which loop follows, so that there is only ever one. */
const link = { key: sessionStorage.getItem("aicache-key") || "", heard: Date.now(), moved: Date.now(), attempt: null, turn: 0, tries: 0, stale: false };

class KeyNeeded extends Error {}

async function request(path) {
  link.attempt = new AbortController();
  link.moved = Date.now();
  const headers = link.key ? { Authorization: `Bearer ${link.key}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: link.attempt.signal });
  if (answer.status === 401) throw new KeyNeeded(link.key ? "This key is not accepted." : "");
  return answer;
}

/* Called each second, and by whoever knows of a silence. */
function watch() {
  if (link.attempt && Date.now() - link.moved > SILENCE_MS) link.attempt.abort();
  if (Date.now() - link.heard > SILENCE_MS) sayStale();
}

function sayStale() {
  if (link.stale || asksForKey()) return;
  link.stale = true;
  const words = `no answer since ${format.clock(link.heard)}`;
  pill(el("overall"), words, "bad");
  document.title = `aicache – ${words}`;
  text("about", "trying again");
  document.body.classList.add("stale");
}

function sayFresh() {
  link.heard = link.moved = Date.now();
  link.stale = false;
  document.body.classList.remove("stale");
}

async function loadHistory() {
  const answer = await request("monitoring/history");
  if (answer.ok) state.levels = levelsOf(await answer.json()); /* without the monitor, or the admin flag, there is none: the stream alone fills the charts */
}

/* Reads events until the connection ends; each is "data: {…}" and an empty line. */
async function readStream() {
  const answer = await request("monitoring/stream");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (!data) continue;
      sayFresh();
      show(JSON.parse(data));
    }
  }
}

function asksForKey() { return !el("login").hidden; }

/* Who may not see the figures sees none, not even old ones. */
function askForKey(message) {
  sayFresh();
  clearFigures();
  pill(el("overall"), "key needed", "fair");
  document.title = "aicache – key needed";
  text("about", "");
  el("login").hidden = false;
  el("main").hidden = true;
  text("login-error", message);
  el("key").focus();
  el("key").select();
}

function keyAccepted() {
  if (!asksForKey()) return;
  el("login").hidden = true;
  el("main").hidden = false;
  el("key").value = "";
  el("main").focus();
  pill(el("overall"), "connecting", "");
}

/* Follows the daemon until a key is needed: whatever ends the stream, it is tried again after a pause that grows while nothing comes. */
async function follow() {
  const turn = ++link.turn;
  for (let pause = FIRST_PAUSE_MS; ;) {
    const began = Date.now();
    link.tries++;
    try {
      await loadHistory();
      keyAccepted();
      await readStream();
    } catch (error) {
      if (turn !== link.turn) return;
      if (error instanceof KeyNeeded) { askForKey(error.message); return; }
    }
    link.attempt = null;
    if (turn !== link.turn) return;
    sayStale();
    pause = link.heard >= began ? FIRST_PAUSE_MS : Math.min(pause * 2, LONGEST_PAUSE_MS);
    await new Promise((done) => setTimeout(done, pause));
    if (turn !== link.turn) return;
  }
}

function useKey(key) {
  link.key = key;
  sessionStorage.setItem("aicache-key", key);
  follow();
}
