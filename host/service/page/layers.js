// SPDX-License-Identifier: Apache-2.0
// Time: a bar a layer as predicted, the totals predicted and measured.

import { byId, el, percent, short, whole } from "./dom.js";

/** Fill the summary above the pictures. */
export function showSummary({ figures, time, task, model }) {
  const cycles = time.measured_cycles ?? time.predicted_cycles;
  const how = time.measured_cycles ? "measured" : "predicted";
  byId("summary").replaceChildren(
    tile("Machine", short(1e3 * cycles / time.clock_hz), "ms", `${how}, ${time.clock}`),
    tile("Cycles", whole(cycles), "", how),
    tile("Device call", short(figures.device_milliseconds), "ms", "with its data, on this host"),
    tile("Waited", short(figures.queue_milliseconds), "ms", "in the queue"),
    tile("Program", task, "", model));
}

function tile(label, value, unit, note) {
  return el("div", {}, el("p", { className: "label" }, label),
    el("p", { className: "value" }, value, unit ? el("small", {}, ` ${unit}`) : null),
    el("p", { className: "note" }, note));
}

/** Fill the table of the layers. */
export function showLayers(time) {
  const most = Math.max(...time.layers.map((layer) => layer.cycles), 1);
  const head = el("tr", {}, el("th", {}, "layer"), el("th", { className: "bar-cell" }), el("th", {}, "cycles"),
    el("th", {}, "ms"), el("th", { className: "optional" }, "DRAM kB"), el("th", { className: "optional" }, "MAC eff."));
  const rows = time.layers.map((layer) => el("tr", { "data-kind": layer.kind },
    el("td", {}, layer.name),
    el("td", { className: "bar-cell" }, el("i", { className: "bar", style: { width: `${100 * layer.cycles / most}%` } })),
    el("td", {}, whole(layer.cycles)), el("td", {}, (1e3 * layer.cycles / time.clock_hz).toFixed(3)),
    el("td", { className: "optional" }, whole(layer.bytes / 1e3)),
    el("td", { className: "optional" }, percent(layer.efficiency))));
  const measured = time.measured_cycles;
  const predictedBy = "performance model" +
    (time.layers.some((layer) => layer.kind === "MoE FFN") ? ", tokens shared evenly by the experts" : "");
  const total = (name, cycles) => el("tr", {}, el("td", {}, name),
    el("td", { className: "bar-cell" }), el("td", {}, whole(cycles)),
    el("td", {}, (1e3 * cycles / time.clock_hz).toFixed(3)), el("td", { className: "optional" }),
    el("td", { className: "optional" }));
  byId("time").replaceChildren(el("table", { className: "layers" }, el("thead", {}, head), el("tbody", {}, ...rows),
    el("tfoot", {}, total("predicted", time.predicted_cycles), measured ? total("measured", measured) : "")),
  el("p", { className: "note" }, `Predicted by the ${predictedBy}. `, measured
    ? `Measured: ${percentOff(measured, time.predicted_cycles)} from the prediction.`
    : "This device does not count cycles: nothing is measured."));
  byId("kinds").replaceChildren(...[...new Set(time.layers.map((layer) => layer.kind))]
    .map((kind) => el("li", { "data-kind": kind }, el("i", { className: "swatch" }), kind)));
}

const percentOff = (one, other) => `${one >= other ? "+" : ""}${(100 * (one / other - 1)).toFixed(1)} %`;
