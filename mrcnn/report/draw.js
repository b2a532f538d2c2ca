"use strict";
// What all pages do: instances drawn over images, tables that sort. Everything is made by DOM calls: no text of the data ever becomes markup.
const COLORS = { correct: "#35c46f", classification: "#b07cf0", localization: "#ffa733", both: "#c99a6b",
  duplicate: "#2fc3dc", background: "#ff5555", missed: "#ff6fb5", ignored: "#a9b0b8" };
const data = JSON.parse(document.getElementById("data").textContent);
const byName = (id) => document.getElementById(id);
const className = (id) => data.classes[id - 1] || String(id);
const byId = new Map((data.images || []).map((image) => [JSON.stringify(image.id), image]));

function svg(name, attributes, parent) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.appendChild(element);
  return element;
}

function html(name, text, parent, className) {
  const element = document.createElement(name);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  if (parent) parent.appendChild(element);
  return element;
}

function panel(image, view, parent) {
  const root = svg("svg", { viewBox: view || `0 0 ${image.w} ${image.h}`, preserveAspectRatio: "xMidYMid meet" }, parent);
  svg("image", { href: image.src, width: image.w, height: image.h, preserveAspectRatio: "none" }, root);
  return root;
}

function shape(root, path, color, label, dashed) {
  const element = svg("path", { d: path, class: dashed ? "shape dashed" : "shape", stroke: color, fill: color,
    "fill-rule": "evenodd" }, root);
  svg("title", {}, element).textContent = label;
}

function showLegend() {
  for (const [kind, color] of Object.entries(COLORS)) {
    const entry = html("span", null, byName("kinds"));
    html("i", null, entry).style.background = color;
    entry.append(kind);
  }
}

for (const table of document.querySelectorAll("table.sortable"))
  table.tHead.addEventListener("click", (event) => {
    const column = event.target.cellIndex, body = table.tBodies[0];
    if (column === undefined) return;
    const direction = table.dataset.column === String(column) ? -1 : 1;
    const key = (row) => row.cells[column].textContent;
    const compare = (a, b) => column ? (parseFloat(key(b)) || -1) - (parseFloat(key(a)) || -1) : key(a).localeCompare(key(b));
    body.append(...[...body.rows].sort((a, b) => direction * compare(a, b)));
    table.dataset.column = direction > 0 ? column : "";
  });
