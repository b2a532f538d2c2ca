"use strict";
// The images of a data set with their ground truth, and its issues with the object in question.
const IMAGES = 24, CARDS = 24;
const view = { cls: 0, split: "", order: "", file: null, shown: IMAGES };
const issues = { cls: 0, kind: "", shown: CARDS };

function card(image, parent) {
  const figure = html("figure", null, parent, "card");
  const caption = html("figcaption", null, figure);
  html("b", image.file, caption).title = image.file;
  html("span", `${image.objects} objects`, caption);
  if (image.objects > image.gt.length) html("span", `${image.gt.length} drawn`, caption);
  if (image.split !== null) html("span", image.split, caption);
  const root = panel(image, null, html("div", null, figure, "crop"));
  for (const [id, path, crowd] of image.gt)
    if (!view.cls || id === view.cls)
      shape(root, path, crowd ? COLORS.ignored : data.colors[id - 1] || COLORS.ignored, className(id));
}

function draw() {
  const gallery = byName("gallery");
  gallery.replaceChildren();
  const selected = data.images.filter((image) => view.file !== null ? image.file === view.file
    : (!view.cls || image.gt.some((object) => object[0] === view.cls)) && (!view.split || image.split === view.split));
  if (view.order) selected.sort((a, b) => (view.order === "most" ? 1 : -1) * (b.objects - a.objects));
  for (const image of selected.slice(0, view.shown)) card(image, gallery);
  byName("count").textContent = view.file !== null && !selected.length ? `${view.file} is not among the images of this page`
    : `${selected.length} of ${data.images.length} images`;
  byName("more").hidden = selected.length <= view.shown;
  byName("every").hidden = view.file === null;
}

function change(values) {
  Object.assign(view, { shown: IMAGES }, values);
  draw();
}

function issueCard(issue, parent) {
  const place = html("div", null, parent, "issue");
  const crop = html("div", null, place, "crop");
  if (issue.src) {
    const root = panel(issue, null, crop);
    if (issue.path) shape(root, issue.path, "#ffd24a", className(issue.cls));
  }
  html("b", issue.kind, place, issue.fatal ? "refused" : "");
  if (issue.cls) html("span", className(issue.cls), place);
  html("span", issue.message, place);
  if (issue.file) html("small", issue.file, place);
}

function drawIssues(values) {
  Object.assign(issues, { shown: CARDS }, values);
  const cards = byName("issue-cards");
  cards.replaceChildren();
  const selected = data.issues.filter((issue) => (!issues.cls || issue.cls === issues.cls)
    && (!issues.kind || issue.kind === issues.kind));
  for (const issue of selected.slice(0, issues.shown)) issueCard(issue, cards);
  byName("issue-count").textContent = `${selected.length} of ${data.issues.length} issues`;
  byName("more-issues").hidden = selected.length <= issues.shown;
}

byName("by-class").addEventListener("change", (event) => change({ cls: Number(event.target.value), file: null }));
if (byName("by-split"))
  byName("by-split").addEventListener("change", (event) => change({ split: event.target.value, file: null }));
byName("order").addEventListener("change", (event) => change({ order: event.target.value }));
byName("every").addEventListener("click", () => change({ file: null }));
byName("more").addEventListener("click", () => change({ shown: view.shown + IMAGES }));
for (const button of document.querySelectorAll(".files .link"))
  button.addEventListener("click", () => {
    change({ file: button.dataset.file });
    byName("images").scrollIntoView();
  });
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
if (byName("issue-cards")) {
  byName("issue-kind").addEventListener("change", (event) => drawIssues({ kind: event.target.value }));
  byName("issue-class").addEventListener("change", (event) => drawIssues({ cls: Number(event.target.value) }));
  byName("more-issues").addEventListener("click", () => drawIssues({ shown: issues.shown + CARDS }));
  drawIssues({});
}
draw();
