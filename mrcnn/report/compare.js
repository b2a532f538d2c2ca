"use strict";
// The images on which runs differ: ground truth, then the detections of each run.
const LEAST = 0.3;
const className = (id) => data.classes[id - 1] || String(id);

for (const [kind, color] of Object.entries(COLORS)) {
  const entry = html("span", null, document.getElementById("kinds"));
  html("i", null, entry).style.background = color;
  entry.append(kind);
}
for (const image of data.images) {
  const figure = html("figure", null, document.getElementById("gallery"), "card");
  html("b", image.file, html("figcaption", null, figure)).title = image.file;
  const row = html("div", null, figure, "pair many");
  const side = (title) => {
    const cell = html("div", null, row);
    html("small", title, cell);
    return panel(image, null, cell);
  };
  const left = side("ground truth");
  for (const [id, path, , crowd] of image.gt) shape(left, path, crowd ? COLORS.ignored : COLORS.correct, className(id));
  image.runs.forEach((detections, place) => {
    const quality = image.quality[place].toFixed(2);
    const root = side(`${data.runs[place]}: ${quality}${detections ? "" : ", not among its page's images"}`);
    for (const [id, path, score, status] of [...(detections || [])].reverse())
      if (score >= LEAST) shape(root, path, COLORS[status], `${className(id)} ${score.toFixed(2)}: ${status}`);
  });
}
