"use strict";
// The images on which runs differ: ground truth, then the detections of each run.
const LEAST = 0.3;

showLegend();
for (const image of data.images) {
  const figure = html("figure", null, byName("gallery"), "card");
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
