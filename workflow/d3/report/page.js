"use strict";
// What the page does beside showing text: draws figures, steps through diffs, sorts and searches tables, compares runs.
// Text of source files and models is only ever set as text.
(() => {
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  // --- figures -----------------------------------------------------------------------------------
  const size = Math.max(12, 0.72 * parseFloat(getComputedStyle(document.documentElement).fontSize));
  const line = { labelColor: "var(--ink)", titleColor: "var(--soft)", labelFontSize: size, titleFontSize: size,
    titleFontWeight: "normal", gridColor: "var(--grid)", domainColor: "var(--line)", tickColor: "var(--line)", ticks: false,
    labelPadding: 6 };
  const theme = (width) => ({
    background: null, font: "system-ui, sans-serif", padding: 2, axis: line, text: { fill: "var(--ink)", fontSize: size },
    legend: { labelColor: "var(--ink)", titleColor: "var(--soft)", labelFontSize: size, labelLimit: 150, offset: 6,
      columns: width < 480 ? 2 : 5 },
  });
  const draw = async (place) => {
    const spec = data(place.dataset.spec);
    const compiled = vegaLite.compile(spec, { config: theme(place.clientWidth), logger: vega.logger(vega.Error) }).spec;
    const runtime = vega.parse(compiled, null, { ast: true });
    const view = new vega.View(runtime, { renderer: "svg", container: place, hover: false,
      expr: vegaInterpreter.expressionInterpreter, logLevel: vega.Error });
    await view.runAsync();
    place.firstElementChild?.removeAttribute("style");
    place.querySelector("svg")?.setAttribute("aria-hidden", "true");
    place.classList.add("drawn");
  };
  const drawAll = async () => {
    const places = [...document.querySelectorAll(".chart")];
    for (const place of places) {
      try { await draw(place); } catch (error) { place.append(`This figure cannot be drawn: ${error.message}`); console.error(error); }
    }
    document.documentElement.dataset.drawn = places.length;
  };

  // --- diff sequences ------------------------------------------------------------------------------
  const stepper = (root) => {
    const steps = [...root.querySelectorAll("li")];
    if (steps.length < 2 || root.classList.contains("live")) return;
    const slider = element("input", { type: "range", min: 1, max: steps.length, value: 1 });
    slider.setAttribute("aria-label", "step");
    const count = element("output", { className: "n" });
    const back = element("button", { type: "button", textContent: "‹ back" });
    const next = element("button", { type: "button", textContent: "next ›" });
    const show = (number) => {
      slider.value = number;
      steps.forEach((step, place) => step.classList.toggle("on", place === number - 1));
      count.textContent = `${number} of ${steps.length}`;
      back.disabled = number === 1;
      next.disabled = number === steps.length;
      const changed = steps[number - 1].querySelector(".add, .del");
      const pre = steps[number - 1].querySelector("pre");
      if (changed && pre) pre.scrollTop = Math.max(0, changed.offsetTop - pre.offsetTop - 60);
    };
    slider.addEventListener("input", () => show(Number(slider.value)));
    back.addEventListener("click", () => show(Number(slider.value) - 1));
    next.addEventListener("click", () => show(Number(slider.value) + 1));
    root.prepend(element("div", { className: "bar" }, back, slider, next, count));
    root.classList.add("live");
    window.addEventListener("beforeprint", () => show(steps.length));
    show(1);
  };
  const choose = (root) => {  // one sequence of several, by a list
    const parts = [...root.children];
    if (parts.length < 2) return;
    const list = element("select");
    list.setAttribute("aria-label", "sequence");
    parts.forEach((part, place) => list.append(element("option", { value: place, textContent: part.dataset.title })));
    const show = () => parts.forEach((part, place) => { part.hidden = place !== Number(list.value); });
    list.addEventListener("change", show);
    root.before(element("p", { className: "bar" }, list));
    show();
  };

  // --- tables ----------------------------------------------------------------------------------------
  const PAGE = 25;
  const order = new Intl.Collator("en", { numeric: true });
  const compare = (one, other) =>
    typeof one === "number" && typeof other === "number" ? one - other : order.compare(String(one ?? ""), String(other ?? ""));
  const table = (root) => {
    const { caption, columns, rows, opens } = data(root.dataset.rows);
    const places = rows.map((_, place) => place);
    const texts = rows.map((row) => row.join("\u0000").toLowerCase());
    let shown = places, page = 0, by = null, down = false;
    const search = element("input", { type: "search", placeholder: "search" });
    search.setAttribute("aria-label", `search in: ${caption}`);
    const status = element("span", { className: "note" });
    status.setAttribute("role", "status");
    const body = element("tbody");
    const heads = columns.map((column, place) => {
      const button = element("button", { type: "button", textContent: column.name });
      const head = element("th", { className: column.kind === "number" ? "n" : "" }, button);
      head.scope = "col";
      button.addEventListener("click", () => { down = by === place && !down; by = place; find(); });
      return head;
    });
    const back = element("button", { type: "button", textContent: "‹" });
    const next = element("button", { type: "button", textContent: "›" });
    back.setAttribute("aria-label", "previous page");
    next.setAttribute("aria-label", "next page");
    const open = (line, button, template) => {
      const expanded = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!expanded));
      if (expanded) { line.nextElementSibling.remove(); return; }
      const cell = element("td", { colSpan: columns.length }, document.getElementById(template).content.cloneNode(true));
      line.after(element("tr", { className: "opened" }, cell));
      cell.querySelectorAll(".stepper").forEach(stepper);
    };
    const fill = () => {
      body.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((place) => {
        const line = element("tr");
        columns.forEach((column, number) => {
          const value = rows[place][number];
          const text = value === null ? "–" : typeof value === "number" ? value.toLocaleString("en") : value;
          const cell = element(number ? "td" : "th", { className: column.kind === "number" ? "n" : "" });
          if (!number) cell.scope = "row";
          if (!number && opens?.[place]) {
            const button = element("button", { type: "button", textContent: text });
            button.setAttribute("aria-expanded", "false");
            button.addEventListener("click", () => open(line, button, opens[place]));
            cell.append(button);
          } else if (column.kind === "code") cell.append(element("code", { textContent: text }));
          else cell.textContent = text;
          line.append(cell);
        });
        return line;
      }));
      const pages = Math.max(1, Math.ceil(shown.length / PAGE));
      status.textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows, page ${page + 1} of ${pages}`;
      back.disabled = page === 0;
      next.disabled = page + 1 >= pages;
      heads.forEach((head, place) => head.setAttribute("aria-sort", by !== place ? "none" : down ? "descending" : "ascending"));
    };
    const find = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      shown = places.filter((place) => words.every((word) => texts[place].includes(word)));
      if (by !== null) shown.sort((one, other) => (down ? -1 : 1) * compare(rows[one][by], rows[other][by]) || one - other);
      page = 0;
      fill();
    };
    search.addEventListener("input", find);
    back.addEventListener("click", () => { page -= 1; fill(); });
    next.addEventListener("click", () => { page += 1; fill(); });
    const whole = element("table", {}, element("caption", { textContent: caption }), element("thead", {}, element("tr", {}, ...heads)), body);
    const wide = element("div", { className: "wide", tabIndex: 0 }, whole);
    wide.setAttribute("role", "region");
    wide.setAttribute("aria-label", caption);
    root.replaceChildren(element("div", { className: "bar" }, search, status, back, next), wide);
    root.classList.add("table");
    fill();
  };

  // --- several runs ----------------------------------------------------------------------------------
  const runs = () => {
    const choice = document.getElementById("other-runs"), place = document.getElementById("runs");
    if (!choice) return;
    const own = data("own-run");
    choice.addEventListener("change", async () => {
      const columns = [own], faults = [];
      for (const file of choice.files) {
        try {
          const read = JSON.parse(await file.text());
          columns.push({ run: String(read.run), key: Object.fromEntries(read.key.map((row) => [row.label, row])) });
        } catch (error) { faults.push(`${file.name} must be the numbers.json of a run (${error.message})`); }
      }
      const labels = [...new Set(columns.flatMap((column) => Object.keys(column.key)))];
      const said = (row) => {
        if (!row || row.value === null) return "–";
        const share = "tasks" in row || "samples" in row;
        const text = (value) => share ? (100 * value).toFixed(1) : Number(value).toLocaleString("en", { maximumFractionDigits: 3 });
        const interval = row.low === undefined || row.low === null ? "" : ` (${text(row.low)} to ${text(row.high)})`;
        return `${text(row.value)}${share ? " %" : ""}${interval}`;
      };
      const head = element("tr", {}, element("th", { textContent: "Number" }), ...columns.map((column) => element("th", { className: "n", textContent: column.run })));
      const body = labels.map((label) => element("tr", {}, element("th", { textContent: label }),
        ...columns.map((column) => element("td", { className: "n", textContent: said(column.key[label]) }))));
      place.replaceChildren(...faults.map((text) => element("p", { className: "none", textContent: text })),
        element("table", {}, element("caption", { textContent: "Key numbers of several runs." }), element("thead", {}, head), element("tbody", {}, ...body)));
    });
  };

  document.querySelectorAll("[data-rows]").forEach(table);
  document.querySelectorAll(".sequences").forEach(choose);
  document.querySelectorAll(".stepper").forEach(stepper);
  runs();
  drawAll();
})();
