// SPDX-License-Identifier: Apache-2.0
// The page: choosing a picture, a model and a task, running it, and the state of the device.

import { byId, el, segments } from "./dom.js";
import { showExperts } from "./experts.js";
import { showLayers, showSummary } from "./layers.js";
import { addReader, clearFrames, mapCards } from "./maps.js";

const POLL = 1000;
const chosen = { picture: null, name: "", model: null, task: "" };
let models = [];

/** JSON of an answer, or an error with the name and the sentence of the service. */
async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw { name: "ServiceGone", text: "The service does not answer. Is it still running?" };
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const text = body.error ?? `HTTP status ${answer.status}.`;
  const name = body.name ?? "Error";
  throw { name, text: text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text };
}

function showError(error) {
  const box = byId("error");
  box.hidden = error === null;
  if (error === null) return;
  box.querySelector(".error-name").textContent = error.name ?? "Error";
  box.querySelector(".error-text").textContent = error.text ?? String(error);
}

// -- what to run

function take(picture, name) {
  chosen.picture = picture;
  chosen.name = name;
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(picture);
  preview.hidden = false;
  preview.onerror = () => { preview.hidden = true; };
  byId("drop").querySelector(".drop-text span").textContent = name;
  for (const button of byId("samples").children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
  ready();
  run();
}

function ready() {
  byId("run").disabled = chosen.picture === null || chosen.model === null;
}

function pickModel(model) {
  chosen.model = model;
  chosen.task = model.tasks[0];
  byId("model-facts").textContent = `${model.width} x ${model.height} pixels; for ${model.machine}, ` +
    `${model.macs_per_cycle.toLocaleString("en")} multiply-accumulates a cycle`;
  byId("tasks").replaceChildren(...segments("task", model.tasks, chosen.task, (task) => { chosen.task = task; },
    (task) => task.replaceAll("+", " + ")).children);
  byId("experts-choice").hidden = !model.experts;
  ready();
}

function offerSamples(count) {
  byId("samples").replaceChildren(...Array.from({ length: count }, (_, index) => {
    const name = `street ${index + 1}`;
    const button = el("button", { type: "button", "aria-label": `Take ${name}`, "aria-pressed": "false", "data-name": name },
      el("img", { src: `/samples/${index}.png`, alt: "" }));
    button.addEventListener("click", async () => take(await (await fetch(`/samples/${index}.png`)).blob(), name));
    return button;
  }));
}

async function offerModels() {
  const answer = await asked("/api/models");
  ({ models } = answer);
  byId("model").replaceChildren(...models.map((model) => el("option", { value: model.name }, model.name)));
  byId("model").addEventListener("change", (event) => pickModel(models[event.target.selectedIndex]));
  pickModel(models[0]);
  offerSamples(answer.samples);
}

function watchDrops() {
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file, file.name);
    event.target.value = "";
  });
  let depth = 0;
  const over = (step) => { depth += step; byId("drop").classList.toggle("over", depth > 0); };
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

// -- running it

let turn = 0;

async function run() {
  if (chosen.picture === null || chosen.model === null) return;
  const mine = ++turn;
  const form = new FormData();
  form.set("picture", chosen.picture, "picture");
  form.set("model", chosen.model.name);
  form.set("task", chosen.task);
  form.set("experts", String(byId("experts").checked));
  showError(null);
  waiting(true);
  try {
    const result = await asked("/api/run", { method: "POST", body: form });
    if (mine === turn) show(result);
  } catch (error) {
    if (mine === turn) showError(error);
  } finally {
    if (mine === turn) waiting(false);
  }
}

function waiting(yes) {
  byId("results").classList.toggle("waiting", yes);
  byId("results").setAttribute("aria-busy", String(yes));
  byId("run").textContent = yes ? "Running…" : "Run";
  byId("progress").hidden = !yes;
  byId("progress").removeAttribute("value");
}

function show(result) {
  const model = models.find((each) => each.name === result.model);
  const ratio = model.width / model.height;
  clearFrames();
  addReader((u, v) => el("span", {}, "x ", el("b", {}, String(Math.floor(u * model.width))), "  y ",
    el("b", {}, String(Math.floor(v * model.height)))));
  showSummary(result);
  byId("maps").replaceChildren(...mapCards(result, ratio));
  showExperts(result, ratio);
  showLayers(result.time);
  byId("empty").hidden = true;
  byId("shown").hidden = false;
}

// -- the device

async function watchDevice() {
  try {
    showDevice(await asked("/api/state"));
  } catch {
    showPill("lost", "the service does not answer");
  }
  setTimeout(watchDevice, document.hidden ? 5 * POLL : POLL);
}

function showPill(status, text) {
  byId("pill").dataset.status = status;
  const span = byId("pill").querySelector("span");
  if (span.textContent !== text) span.textContent = text;  // or a screen reader says it each time
}

function showDevice(state) {
  showPill(state.status, `${state.name}: ${state.status === "lost" ? "lost, it is opened again" : state.status}`);
  const facts = { state: state.status, name: state.name, machine: state.machine, clock: state.clock,
    condition: state.condition, "opened again": `${state.restarts} times` };
  byId("device").replaceChildren(...Object.entries(facts).flatMap(([term, text]) =>
    [el("dt", {}, term), el("dd", {}, text)]),
  ...(state.error ? [el("dt", {}, "last failure"), el("dd", { className: "long" }, state.error)] : []));
  if (state.progress !== null) byId("progress").value = state.progress;
  byId("queue-text").textContent = `Queue: ${state.queue} of ${state.capacity}`;
  byId("queue").max = state.capacity;
  byId("queue").value = state.queue;
}

function drawEmpty() {
  const cells = byId("empty").querySelector(".cells");
  for (let index = 0; index < 32; index += 1) {
    const cell = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const set = { x: (index % 8) * 20 + 1, y: Math.floor(index / 8) * 20 + 1, width: 18, height: 18, rx: 4,
      fill: index % 5 === 2 ? "var(--warm)" : "var(--accent)", opacity: 0.15 + ((index * 37) % 11) / 16 };
    for (const [name, value] of Object.entries(set)) cell.setAttribute(name, value);
    cells.append(cell);
  }
}

byId("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
byId("dismiss").addEventListener("click", () => showError(null));
drawEmpty();
watchDrops();
watchDevice();
offerModels().catch(showError);
