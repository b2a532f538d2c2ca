"use strict";
// The gallery with its filters, and the crops of likely label mistakes.
const STEP = 12;
const view = { threshold: data.threshold, cls: 0, kind: "", order: "worst", file: null, shown: STEP };

function stateOf(image) {
  // Of an image at the threshold: each object's and each detection's status, those of other classes left out.
  const wanted = (id) => !view.cls || id === view.cls;
  const gt = image.gt.filter((g) => wanted(g[0])).map(([id, path, score, crowd]) => ({ id, path,
    status: crowd ? "ignored" : score >= view.threshold ? "correct" : "missed" }));
  const dt = image.dt.filter((d) => wanted(d[0]) && d[2] >= view.threshold).map(([id, path, score, status]) => ({ id, path,
    score, status }));
  return { gt, dt };
}

function matches(image, state) {
  if (view.file !== null) return image.file === view.file;
  if (view.cls && !state.gt.length && !state.dt.length) return false;
  return !view.kind || [...state.gt, ...state.dt].some((item) => item.status === view.kind);
}

function card(image, state, parent) {
  const figure = html("figure", null, parent, "card");
  const caption = html("figcaption", null, figure);
  html("b", image.file, caption).title = image.file;
  html("span", `quality ${image.quality.toFixed(2)}`, caption);
  const errors = {};
  for (const item of [...state.gt, ...state.dt])
    if (item.status !== "correct" && item.status !== "ignored") errors[item.status] = (errors[item.status] || 0) + 1;
  html("span", Object.entries(errors).map(([kind, count]) => `${count} ${kind}`).join(", ") || "no errors", caption);
  const pair = html("div", null, figure, "pair");
  const left = panel(image, null, pair), right = panel(image, null, pair);
  for (const g of state.gt) shape(left, g.path, COLORS[g.status], `${className(g.id)}: ${g.status}`);
  for (const d of [...state.dt].reverse())
    shape(right, d.path, COLORS[d.status], `${className(d.id)} ${d.score.toFixed(2)}: ${d.status}`);
}

function draw() {
  const gallery = byName("gallery");
  gallery.replaceChildren();
  const images = view.order === "best" ? [...data.images].reverse() : data.images;
  const selected = images.map((image) => [image, stateOf(image)]).filter(([image, state]) => matches(image, state));
  for (const [image, state] of selected.slice(0, view.shown)) card(image, state, gallery);
  byName("count").textContent = view.file !== null && !selected.length ? `${view.file} is not among the images of this page`
    : `${selected.length} of ${data.images.length} images`;
  byName("more").hidden = selected.length <= view.shown;
  byName("every").hidden = view.file === null;
}

function change(values) {
  Object.assign(view, { shown: STEP }, values);
  draw();
}

showLegend();
byName("by-class").addEventListener("change", (event) => change({ cls: Number(event.target.value), file: null }));
byName("by-error").addEventListener("change", (event) => change({ kind: event.target.value, file: null }));
byName("order").addEventListener("change", (event) => change({ order: event.target.value }));
byName("score").addEventListener("input", (event) => {
  byName("score-text").textContent = Number(event.target.value).toFixed(2);
  change({ threshold: Number(event.target.value) });
});
byName("filters").addEventListener("submit", (event) => event.preventDefault());
byName("every").addEventListener("click", () => change({ file: null }));
byName("more").addEventListener("click", () => change({ shown: view.shown + STEP }));
for (const button of document.querySelectorAll(".files .link"))
  button.addEventListener("click", () => {
    byName("by-error").value = "";
    change({ file: button.dataset.file, kind: "" });
    byName("images").scrollIntoView();
  });

for (const place of document.querySelectorAll(".issue")) {
  const issue = data.issues[Number(place.dataset.issue)];
  const image = byId.get(JSON.stringify(issue.image_id));
  if (!image) continue;
  const scale = image.w / image.pixels[1];
  const [y1, x1, y2, x2] = issue.box.map((value) => value * scale);
  const side = Math.max(y2 - y1, x2 - x1, 60) * 1.9;
  const root = panel(image, `${(x1 + x2 - side) / 2} ${(y1 + y2 - side) / 2} ${side} ${side}`, place.querySelector(".crop"));
  const object = issue.gt === null ? null : image.gt[issue.gt];
  const detection = issue.detection === null ? null : image.dt[issue.detection];
  if (object) shape(root, object[1], "#ffd24a", className(object[0]));
  if (detection) shape(root, detection[1], "#3fd0ff", `${className(detection[0])} ${detection[2].toFixed(2)}`, true);
}

draw();
