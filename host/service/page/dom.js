// SPDX-License-Identifier: Apache-2.0
// Small helpers: elements, numbers as people read them, radio buttons in a row.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`data-`, `aria-` and `role` as attributes) and children. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("data-") || name.startsWith("aria-") || name === "role" || name === "for") {
      made.setAttribute(name, value);
    } else if (name === "style") {
      Object.assign(made.style, value);
    } else {
      made[name] = value;
    }
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export const whole = (value) => Math.round(value).toLocaleString("en");
export const percent = (part) => (part === 0 ? "0 %" : part < 0.001 ? "< 0.1 %" : `${(100 * part).toFixed(1)} %`);

/** A number with about three digits. */
export function short(value) {
  const size = Math.abs(value);
  if (size >= 1000) return whole(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** Radio buttons in a row; `chosen` hears the value that is picked. */
export function segments(name, values, current, chosen, label = (value) => value) {
  return el("div", { className: "segments" }, ...values.map((value) => {
    const input = el("input", { type: "radio", name, value, checked: value === current });
    input.addEventListener("change", () => chosen(value));
    return el("label", {}, input, el("span", {}, label(value)));
  }));
}

/** Colour of one of so many things: hues around the circle, every other one lighter. */
export const hue = (index, count) => `hsl(${(360 * index) / count + 8} ${index % 2 ? "72% 64%" : "62% 46%"})`;
