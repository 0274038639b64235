// SPDX-License-Identifier: Apache-2.0
// Experts: which one each patch chose, over the input, and how many tokens each has.

import { byId, el, hue, segments } from "./dom.js";
import { addReader, frame, swatch } from "./maps.js";

/** Fill the card of the experts, or say why there are none. */
export function showExperts(result, ratio) {
  const { experts } = result;
  byId("experts-choices").replaceChildren();
  if (experts.reason) {
    byId("experts-body").replaceChildren(el("p", { className: "note" }, experts.reason));
    return;
  }
  const tasks = Object.keys(experts.tasks);
  const layers = Object.keys(experts.tasks[tasks[0]]);
  const now = { task: tasks[0], layer: layers[layers.length - 1], only: null };
  const canvas = el("canvas", { className: "top crisp", width: experts.grid[1], height: experts.grid[0] });
  const load = el("ol", { className: "load" });

  function pick(change) {
    Object.assign(now, change);
    const layer = experts.tasks[now.task][now.layer];
    draw(canvas, layer.patches, experts, now.only);
    load.replaceChildren(...bars(layer.load, experts.experts, now.only,
      (expert) => pick({ only: expert === now.only ? null : expert })));
  }
  byId("experts-choices").replaceChildren(el("form", { className: "choices" },
    choice("Task", "experts-task", tasks, now.task, (task) => pick({ task })),
    choice("Block", "experts-layer", layers, now.layer, (layer) => pick({ layer }))));
  byId("experts-body").replaceChildren(el("div", { className: "experts" },
    frame("The first expert of each patch, over the input", ratio,
      el("img", { src: result.input, alt: "", draggable: false }), canvas), load),
  el("p", { className: "note" }, `Routing by ${experts.source}, equal to the machine's bit for bit. A colour is the ` +
    "expert with the largest weight; the bars count all choices of all tokens. Press an expert to see its patches alone."));
  addReader((u, v) => {
    const chosen = experts.tasks[now.task][now.layer].patches[cell(u, v, experts.grid)];
    return el("span", {}, `experts of block ${now.layer} (${now.task}) `,
      ...chosen.flatMap((expert) => [swatch(hue(expert, experts.experts)), el("b", {}, `${expert} `)]));
  });
  pick({});
}

const cell = (u, v, [rows, columns]) => Math.floor(v * rows) * columns + Math.floor(u * columns);

function choice(title, name, values, current, chosen) {
  return el("fieldset", {}, el("legend", {}, title), segments(name, values, current, chosen));
}

/** A pixel a patch: its first expert's colour, or, with one expert picked, that expert's patches. */
function draw(canvas, patches, { experts, grid }, only) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  patches.forEach((chosen, index) => {
    const shown = only === null || chosen.includes(only);
    context.globalAlpha = only === null ? 0.62 : shown ? (chosen[0] === only ? 0.8 : 0.5) : 0.72;
    context.fillStyle = shown ? hue(only ?? chosen[0], experts) : "#111";
    context.fillRect(index % grid[1], Math.floor(index / grid[1]), 1, 1);
  });
}

function bars(load, experts, only, pressed) {
  const most = Math.max(...load, 1);
  return load.map((count, expert) => {
    const button = el("button", { type: "button", "aria-pressed": String(expert === only) },
      el("span", {}, swatch(hue(expert, experts)), `expert ${expert}`),
      el("span", { className: "track" }, el("i", { className: "bar",
        style: { width: `${100 * count / most}%`, background: hue(expert, experts) } })),
      el("span", { className: "count" }, String(count)));
    button.addEventListener("click", () => pressed(expert));
    return el("li", {}, button);
  });
}
