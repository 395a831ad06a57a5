// Where each transformer looks, and what comes out, at the step of training that is chosen.
(() => {
  "use strict";
  const variants = window.pageData.pictures;
  const panel = document.querySelector(".pictures");
  if (!panel || !variants.length) return;
  const FIRST = 6;
  const COLOURS = 6;
  const steps = [...new Set(variants.flatMap((v) => v.steps))].sort((a, b) => a - b);
  const slider = document.getElementById("step"), now = document.getElementById("step-now");
  const outlines = document.getElementById("outlines"), which = document.getElementById("which");
  const strips = document.getElementById("strips");
  const source = (png) => `data:image/png;base64,${png}`;
  const colour = (i) => `var(--c${i % COLOURS})`;

  function element(tag, attributes = {}, ...children) {
    const svg = tag === "svg" || tag === "polygon";
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function outline(look, place) {
    const points = look.outline.reduce((text, value, i) => text + value + (i % 2 ? " " : ","), "");
    const over = element("polygon", { points });
    over.style.stroke = colour(place);
    return [element("polygon", { points, class: "under" }), over];
  }

  function example(variant, each, step) {
    const looks = each.looks[step] ?? {};
    const words = `example ${each.example + 1}, ${each.label}`;
    const [width, height] = each.size;
    const svg = element("svg", { viewBox: `-0.5 -0.5 ${width} ${height}`, "aria-hidden": "true" });
    if (outlines.checked) {
      variant.transformers.forEach((name, i) => looks[name] && svg.append(...outline(looks[name], i)));
    }
    const input = element("img", { src: source(each.png), alt: `${variant.name}: ${words}, input` });
    const figure = element("figure", { class: width > 2 * height ? "example wide" : "example" });
    figure.append(element("div", { class: "look" }, input, svg));
    variant.transformers.forEach((name, i) => {
      if (!looks[name]) return;
      const out = element("img", { class: "out", src: source(looks[name].png), alt: `${words}, what ${name} gives at step ${step}` });
      out.style.borderColor = colour(i);
      figure.append(out);
    });
    figure.append(element("figcaption", {}, each.label));
    return figure;
  }

  function strip(variant, step) {
    // A variant that was not looked at in this step is shown as it was last before.
    const nearest = variant.steps.filter((s) => s <= step).at(-1) ?? variant.steps[0];
    const key = element("span", { class: "key" });
    variant.transformers.forEach((name, i) => {
      const box = element("i");
      box.style.borderColor = colour(i);
      key.append(element("span", {}, box, name));
    });
    const title = element("h3", { dir: "auto" }, variant.name);
    if (variant.transformers.length) title.append(key);
    const examples = element("div", { class: "examples" }, ...variant.examples.map((each) => example(variant, each, nearest)));
    const made = element("div", { class: "strip" }, title);
    if (variant.examples.length) made.append(examples);
    if (variant.errors.length) {
      const worst = variant.errors.map((each) => {
        const words = `${each.label}, taken for ${each.predicted}`;
        const figure = element("figure", { class: "example" });
        figure.append(element("div", { class: "look" }, element("img", { src: source(each.png), alt: `worst error: ${words}` })));
        figure.append(element("figcaption", {}, words));
        return figure;
      });
      const list = element("div", { class: "examples" }, ...worst);
      made.append(element("details", {}, element("summary", {}, `Worst errors (${worst.length})`), list));
    }
    return made;
  }

  function show() {
    const step = steps[slider.value];
    now.textContent = `step ${step}`;
    slider.setAttribute("aria-valuetext", now.textContent);
    const open = new Set([...strips.querySelectorAll("details[open]")].map((d) => d.closest(".strip").dataset.place));
    const chosen = which.value === "first" ? variants.slice(0, FIRST) : which.value === "all" ? variants : [variants[which.value]];
    strips.replaceChildren(...chosen.map((variant) => {
      const made = strip(variant, step);
      made.dataset.place = variants.indexOf(variant);
      if (open.has(made.dataset.place)) made.querySelector("details").open = true;
      return made;
    }));
  }

  which.append(element("option", { value: "first" }, variants.length > FIRST ? `the first ${FIRST}` : "all"));
  if (variants.length > FIRST) which.append(element("option", { value: "all" }, `all ${variants.length}`));
  const short = (name) => (name.length > 60 ? `${[...name].slice(0, 59).join("")}…` : name);
  variants.forEach((variant, i) => which.append(element("option", { value: i }, short(variant.name))));
  slider.max = steps.length - 1;
  slider.value = steps.length - 1;
  slider.closest("p").hidden = steps.length < 2;
  panel.addEventListener("input", show);
  panel.hidden = false;
  show();
})();
