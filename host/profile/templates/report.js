// SPDX-License-Identifier: Apache-2.0
// A click on the head of a column sorts its table: downwards first where it holds numbers; again: the other way.
"use strict";
for (const table of document.querySelectorAll("table.layers")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numbers = head.classList.contains("number"), now = head.getAttribute("aria-sort");
    const first = numbers ? "descending" : "ascending", other = numbers ? "ascending" : "descending";
    const order = now === first ? other : first, sign = order === "ascending" ? 1 : -1;
    const key = (row) => numbers ? Number(row.cells[column].dataset.key) : row.cells[column].dataset.key;
    const compare = (a, b) => numbers ? a - b : a.localeCompare(b, "en", {numeric: true});
    body.append(...[...body.rows].sort((a, b) => sign * compare(key(a), key(b))));
    heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
  }));
}
