"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const say = data.words, drafts = data.drafts, passages = data.passages;
const get = (id) => document.getElementById(id);
const shown = {question: get("question"), answer: get("answer")};
let decided = remembered(), place = 0, all = false;

function remembered() {
  try { return JSON.parse(localStorage.getItem(data.key)) || {}; } catch { return {}; }
}

function remember() {
  try { localStorage.setItem(data.key, JSON.stringify(decided)); } catch { /* kept in this window alone */ }
}

/* The drafts a person goes through: those that the filters let pass, or every one. */
function list() { return drafts.filter((one) => all || !one.refused); }

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

function textsOf(one) {
  const own = decided[one.id];
  return own && own.decision === "edit" ? own : one;
}

/* Marks what the answer rests on, so that it is seen at a glance: its own words where the passage says just that, else
   the words they share, in the sentences that share most. */
function marked(text, answer) {
  const at = answer ? text.indexOf(answer) : -1;
  if (at >= 0) return [text.slice(0, at), mark(answer), text.slice(at + answer.length)];
  const fold = (word) => word.toLocaleLowerCase(data.language), word = /[\p{L}\p{N}]+(?:[.,:/-][\p{L}\p{N}]+)*/gu;
  const wanted = new Set((answer.match(word) || []).map(fold).filter((one) => one.length > 3 || /\p{N}/u.test(one)));
  const sentences = text.match(/[^.!?\n]*(?:[.!?](?!\s)[^.!?\n]*)*[.!?]*\s*/g) || [];
  const shared = sentences.map((one) => new Set((one.match(word) || []).map(fold).filter((w) => wanted.has(w))).size);
  const most = Math.max(1, ...shared);
  return sentences.flatMap((one, i) => (shared[i] * 2 <= most ? [one] : one.split(/([\p{L}\p{N}]+(?:[.,:/-][\p{L}\p{N}]+)*)/u)
    .map((piece) => (wanted.has(fold(piece)) ? mark(piece) : piece))));
}

function mark(text) {
  const made = document.createElement("mark");
  made.textContent = text;
  return made;
}

function show() {
  const chosen = list();
  place = Math.min(Math.max(place, 0), Math.max(chosen.length - 1, 0));
  const one = chosen[place];
  get("empty").hidden = Boolean(one);
  get("work").hidden = !one;
  count();
  if (!one) return;
  const texts = textsOf(one), passage = passages[one.passage];
  get("place").textContent = fill(say.place, {at: place + 1, of: chosen.length});
  get("source").textContent = passage.source;
  get("passage").replaceChildren(...marked(passage.text, texts.answer));
  for (const name of ["passage", "question", "answer"]) {
    if (passage.language) get(name).lang = passage.language; else get(name).removeAttribute("lang");
  }
  for (const name of ["question", "answer"]) shown[name].value = texts[name];
  get("refused").hidden = !one.refused;
  get("refused").textContent = one.refused || "";
  const own = decided[one.id];
  get("state").textContent = say[own ? own.decision : "undecided"];
  get("state").className = "word " + ({accept: "good", edit: "good", reject: "bad"}[own && own.decision] || "");
  get("previous").disabled = place === 0;
  get("next").disabled = place === chosen.length - 1;
  grow();
  const first = get("passage").querySelector("mark");
  get("passage").scrollTop = first ? first.offsetTop - 60 : 0;
}

function count() {
  const chosen = list(), left = chosen.filter((one) => !decided[one.id]).length;
  const kept = drafts.filter((one) => decided[one.id] && decided[one.id].decision !== "reject").length;
  get("left").textContent = fill(left === 0 ? say.none_left : left === 1 ? say.one_left : say.many_left, {count: left});
  get("kept").textContent = fill(say.kept, {count: kept});
  get("bar").value = chosen.length - left;
  get("bar").max = Math.max(chosen.length, 1);
  get("save").disabled = !Object.keys(decided).length;
}

function grow() {
  for (const field of Object.values(shown)) {
    field.style.height = "auto";
    field.style.height = field.scrollHeight + 2 + "px";
  }
}

function changed(one) {
  return shown.question.value.trim() !== one.question.trim() || shown.answer.value.trim() !== one.answer.trim();
}

function decide(decision) {
  const one = list()[place];
  if (!one) return;
  if (decision === "accept" && changed(one)) decision = "edit";
  const question = shown.question.value.trim(), answer = shown.answer.value.trim();
  if (decision === "edit" && !(question && answer)) { tell(say.needs_both); return; }
  decided[one.id] = decision === "edit" ? {decision, question, answer} : {decision};
  remember();
  tell("");
  document.activeElement.blur();
  const chosen = list(), ahead = chosen.findIndex((other, at) => at > place && !decided[other.id]);
  const behind = chosen.findIndex((other) => !decided[other.id]);
  if (ahead >= 0) place = ahead; else if (behind >= 0) place = behind;
  show();
}

function undo() {
  const one = list()[place];
  if (one) delete decided[one.id];
  remember();
  show();
}

function move(by) {
  tell("");
  place += by;
  show();
}

function tell(text) { get("told").textContent = text; }

function save() {
  const rows = drafts.filter((one) => decided[one.id]).map((one) => ({id: one.id, ...decided[one.id]}));
  const file = new Blob([JSON.stringify({decisions: rows}, null, 2) + "\n"], {type: "application/json"});
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = "decisions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  tell(say.saved);
}

function key(event) {
  const writing = event.target === shown.question || event.target === shown.answer;
  if (event.key === "Escape" && writing) { event.target.blur(); return; }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && writing) { decide("accept"); event.preventDefault(); return; }
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const does = {
    a: () => decide("accept"), r: () => decide("reject"), u: undo, e: () => shown.question.focus(),
    ArrowRight: () => move(1), ArrowLeft: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (does) { does(); event.preventDefault(); }
}

get("accept").addEventListener("click", () => decide("accept"));
get("reject").addEventListener("click", () => decide("reject"));
get("undo").addEventListener("click", undo);
get("previous").addEventListener("click", () => move(-1));
get("next").addEventListener("click", () => move(1));
get("save").addEventListener("click", save);
get("all").addEventListener("change", (event) => { all = event.target.checked; place = 0; show(); });
for (const field of Object.values(shown)) field.addEventListener("input", grow);
window.addEventListener("resize", grow);
document.addEventListener("keydown", key);
place = Math.max(list().findIndex((one) => !decided[one.id]), 0);
show();
