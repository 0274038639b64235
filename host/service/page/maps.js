// SPDX-License-Identifier: Apache-2.0
// Pictures of a result, each in a frame; the pointer shows the same place in all of them.

import { byId, el, percent, short } from "./dom.js";

const TITLES = { semseg: "Segmentation", depth: "Depth", edge: "Edges", saliency: "Saliency", normals: "Surface normals",
  logits: "Classes", features: "Features" };
const frames = new Set();
let readers = [];

/** Forget the frames and readings of the result before. */
export function clearFrames() {
  frames.clear();
  readers = [];
  point(null);
}

/** `read(u, v)` gives nodes for the read-out of the place (u, v), both in 0..1, or null. */
export function addReader(read) {
  readers.push(read);
}

/** A frame of the picture's shape that follows the pointer and, while it has the focus, the arrow keys. */
export function frame(label, ratio, ...children) {
  const cross = el("i", { className: "cross", "aria-hidden": "true" });
  const made = el("div", { className: "frame", role: "img", "aria-label": label, tabIndex: 0,
    style: { aspectRatio: String(ratio) } }, ...children, cross);
  made.addEventListener("pointermove", (event) => {
    const box = made.getBoundingClientRect();
    point([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  });
  made.addEventListener("pointerleave", () => { if (document.activeElement !== made) point(null); });
  made.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [u, v] = at ?? [0.5, 0.5];
    point([u + step[0] / 64, v + step[1] * ratio / 64]);
  });
  frames.add(cross);
  return made;
}

let at = null;

function point(place) {
  at = place && place.map((part) => Math.min(0.9999, Math.max(0, part)));
  byId("shown").classList.toggle("pointing", at !== null);
  if (at === null) return;
  for (const cross of frames) {
    cross.style.left = `${100 * at[0]}%`;
    cross.style.top = `${100 * at[1]}%`;
  }
  byId("readout").replaceChildren(...readers.map((read) => read(...at)).filter((node) => node !== null));
}

/** Cards of all pictures of a result: the input, the maps, an overlay. */
export function mapCards(result, ratio) {
  const picture = () => el("img", { src: result.input, alt: "", draggable: false });
  const over = result.maps.filter((map) => map.picture && map.kind !== "features");
  const large = over.map((map) => mapCard(map, ratio));
  const small = [card("Input", "as the model sees it", frame("The input", ratio, picture())),
    ...(over.length ? [overlay(over, picture, ratio)] : []),
    ...result.maps.filter((map) => !over.includes(map)).map((map) => mapCard(map, ratio))];
  // Rows of two and of three without gaps: two large maps above three small ones, or all of one size.
  const even = (large.length + small.length) % 3 !== 0;
  const mixed = large.length > 0 && large.length % 2 === 0;
  if (!mixed) for (const each of small) each.classList.toggle("large", even);
  for (const each of large) each.classList.toggle("large", mixed || even);
  return [...large, ...small];
}

function card(title, note, ...children) {
  return el("figure", { className: "map" }, el("figcaption", {}, title, el("span", {}, note)), ...children);
}

function mapCard(map, ratio) {
  const title = TITLES[map.kind] ?? map.name;
  if (map.kind === "logits") {
    const low = Math.min(0, ...map.scores.map((each) => each.score));
    const span = Math.max(...map.scores.map((each) => each.score)) - low || 1;
    return card(title, "largest scores", el("div", { className: "scores" }, ...map.scores.flatMap((each) => [
      el("span", {}, each.name), el("span", { className: "track" }, el("i", { className: "bar",
        style: { width: `${100 * (each.score - low) / span}%` } })), el("b", {}, short(each.score))])));
  }
  const image = el("img", { src: map.picture, alt: "", draggable: false,
    className: map.kind === "semseg" || map.kind === "features" ? "crisp" : "" });
  const note = map.kind === "features" ? `${map.shape.join(" x ")}, three principal components` :
    [map.name === map.kind ? "" : map.name, map.scale?.unit].filter(Boolean).join(", ");
  const made = card(title, note, frame(title, ratio, image));
  made.dataset.map = map.name;
  const values = map.values && decoded(map.values);
  if (map.legend) {
    made.append(legend(map.legend));
    addReader((u, v) => {
      const known = map.legend[values(u, v)];
      return el("span", {}, swatch(known.colour), el("b", {}, known.name));
    });
  } else if (map.scale) {
    made.append(scale(map.scale));
    addReader((u, v) => el("span", {}, `${map.scale.meaning} `,
      el("b", {}, `${short(values(u, v))} ${map.scale.unit}`.trim())));
  }
  return made;
}

export const swatch = (colour) => el("i", { className: "swatch", style: { background: colour } });

function legend(classes) {
  return el("ul", { className: "legend" }, ...classes.map((each) =>
    el("li", { className: each.share ? "" : "none" }, swatch(each.colour), each.name,
      el("small", {}, percent(each.share)))));
}

/** A ramp of colours with round values below it. */
function scale({ low, high, unit, colours, meaning }) {
  const span = Math.max(high - low, 1e-6);
  const magnitude = 10 ** Math.floor(Math.log10(span / 5));
  const step = magnitude * [1, 2, 5, 10].find((factor) => span / (factor * magnitude) <= 8);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e3; value += step) {
    const place = (value - low) / span;
    ticks.push(el("span", { className: place > 0.97 ? "last" : "", style: { left: `${100 * place}%` } },
      String(Number(value.toPrecision(6)))));
  }
  return el("div", { className: "scale", role: "img",
    "aria-label": `${meaning}, ${short(low)} to ${short(high)} ${unit}`.trim() },
  el("div", { className: "ramp", style: { background: `linear-gradient(90deg, ${colours.join(", ")})` } }),
  el("div", { className: "ticks" }, ...ticks));
}

/** The maps over the input, as strong as a slider says. */
function overlay(maps, picture, ratio) {
  const top = el("img", { className: "top", src: maps[0].picture, alt: "", draggable: false, style: { opacity: 0.5 } });
  const which = el("select", { "aria-label": "Map over the input" },
    ...maps.map((map) => el("option", { value: map.name }, TITLES[map.kind] ?? map.name)));
  which.addEventListener("change", () => { top.src = maps[which.selectedIndex].picture; });
  const strength = el("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.5, "aria-label": "Strength" });
  strength.addEventListener("input", () => { top.style.opacity = strength.value; });
  return card("Overlay", "", frame("A map over the input", ratio, picture(), top),
    el("div", { className: "mix" }, which, el("span", {}, "input"), strength, el("span", {}, "map")));
}

/** A function of (u, v) that looks a map's value up. */
function decoded({ codes, height, width, low, step }) {
  const bytes = Uint8Array.from(atob(codes), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return (u, v) => low + step * view.getUint16(2 * (Math.floor(v * height) * width + Math.floor(u * width)), true);
}
