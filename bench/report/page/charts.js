// Draws the charts from the data of the page, as wide as their places, in the colours of the theme.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  window.pageData = data;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const MANY = 1500;

  const marks = (spec) => (spec.data ? spec.data.values.length : 0)
    + (spec.layer ?? []).reduce((sum, layer) => sum + (layer.data ? layer.data.values.length : 0), 0);

  async function draw(place) {
    const spec = data.charts[place.dataset.chart];
    const width = place.clientWidth;
    const theme = structuredClone(data.themes[dark.matches ? "dark" : "light"]);
    theme.axisY = { ...theme.axisY, labelLimit: Math.max(90, Math.round(width * 0.36)) };
    theme.legend = { ...theme.legend, columns: width > 460 ? 2 : 1, labelLimit: Math.min(320, width - 60) };
    theme.aria = false;
    // `ast` interprets expressions instead of compiling them, which the page's policy forbids.
    const { view } = await vegaEmbed(place, { ...spec, width: "container" }, {
      actions: false, ast: true, config: theme, defaultStyle: false, mode: "vega-lite",
      renderer: marks(spec) > MANY ? "canvas" : "svg", tooltip: { theme: "custom" },
    });
    view.addEventListener("click", (_, item) => {
      if (item?.datum?.trial) window.showTrial(item.datum.trial);
    });
    // The figure is one image with a name; its numbers are in the tables.
    place.querySelector("svg")?.setAttribute("aria-hidden", "true");
    if (place.scrollHeight > place.clientHeight) place.tabIndex = 0;
    place.dataset.width = width;
    place.dataset.drawn = dark.matches ? "dark" : "light";
  }

  const places = [...document.querySelectorAll(".plot")];
  let queue = Promise.resolve();
  const ask = (place) => { queue = queue.then(() => draw(place)); };
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting || target.dataset.asked) continue;
      target.dataset.asked = "yes";
      ask(target);
    }
  }, { rootMargin: "600px" });
  places.forEach((place) => seen.observe(place));
  const asked = () => places.filter((place) => place.dataset.asked);
  dark.addEventListener("change", () => asked().forEach(ask));
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => asked().filter((p) => p.clientWidth !== Number(p.dataset.width)).forEach(ask), 150);
  });
  addEventListener("beforeprint", () => places.filter((place) => !place.dataset.asked).forEach(ask));
})();
