// Sorting and filtering of tables that are whole without it.
(() => {
  "use strict";
  const words = new Intl.Collator(undefined, { numeric: true });

  function sort(header) {
    const table = header.closest("table"), body = table.tBodies[0];
    const column = header.cellIndex;
    const down = header.getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows].map((row, place) => {
      const { dataset, textContent } = row.cells[column];
      return { row, place, text: textContent.trim(), value: Number(dataset.value ?? NaN) };
    });
    const numbers = header.classList.contains("number");
    rows.sort((a, b) => {
      const without = numbers && Number.isNaN(a.value) - Number.isNaN(b.value);
      if (without) return without;
      const order = numbers && !Number.isNaN(a.value) ? a.value - b.value : words.compare(a.text, b.text);
      return (down ? -order : order) || a.place - b.place;
    });
    for (const each of table.tHead.querySelectorAll("[aria-sort]")) each.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.map((each) => each.row));
  }

  function filter(table) {
    const input = document.querySelector(`[data-filters="${table.id}"]`);
    const wanted = input ? input.value.trim().toLowerCase() : "";
    const group = table.dataset.group;
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const kept = (group === undefined || row.dataset.group === group)
        && (!wanted || row.textContent.toLowerCase().includes(wanted));
      row.hidden = !kept;
      shown += kept;
    }
    const count = document.querySelector(`[data-count="${table.id}"]`);
    const all = table.tBodies[0].rows.length;
    if (count) count.textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
  }

  const trials = document.getElementById("trials-table");
  const chip = document.querySelector(".chip");
  function only(group, name) {
    if (group === undefined) delete trials.dataset.group;
    else trials.dataset.group = group;
    chip.hidden = group === undefined;
    chip.querySelector("b").textContent = name ?? "";
    filter(trials);
  }

  document.addEventListener("click", (event) => {
    const header = event.target.closest("thead button");
    if (header) sort(header.closest("th"));
    const link = event.target.closest("a[data-group]");
    if (link && trials) only(link.dataset.group, link.closest("tr").cells[0].textContent);
    if (event.target.closest(".chip button")) only(undefined);
  });
  document.addEventListener("input", (event) => {
    const id = event.target.dataset.filters;
    if (id) filter(document.getElementById(id));
  });

  // A link to a trial must find it even where a filter has hidden it.
  window.showTrial = (id) => {
    const row = document.getElementById(id);
    if (!row) return;
    const input = document.querySelector('[data-filters="trials-table"]');
    if (input) input.value = "";
    only(undefined);
    location.hash = id;
    row.querySelector("summary")?.focus({ preventScroll: true });
  };
})();
