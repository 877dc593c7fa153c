"use strict";
// Draws the figures in the reader's colours, sorts and unfolds tables, marks the section in view. Fetches nothing.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // --- colours: "@blue/0.2" is the CSS variable --blue at that opacity; only read where a colour is meant
  const colour = (token, style) => {
    const [name, opacity] = token.slice(1).split("/");
    const hex = style.getPropertyValue("--" + name).trim();
    if (!opacity) return hex;
    const full = hex.length === 4 ? "#" + [...hex.slice(1)].map((c) => c + c).join("") : hex;
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(full.slice(i, i + 2), 16));
    return `rgba(${r},${g},${b},${opacity})`;
  };
  const painted = (value, style, meant = false) => {
    if (typeof value === "string") return meant && value[0] === "@" ? colour(value, style) : value;
    if (Array.isArray(value)) {
      return meant || (value.length && typeof value[0] === "object") ? value.map((v) => painted(v, style, meant)) : value;
    }
    if (value && typeof value === "object") {
      const copy = {};
      for (const key of Object.keys(value)) copy[key] = painted(value[key], style, meant || /color/i.test(key));
      return copy;
    }
    return value;
  };
  const merged = (a, b) => {
    const out = { ...a };
    for (const key of Object.keys(b || {})) {
      const both = out[key] && typeof out[key] === "object" && !Array.isArray(out[key]) && typeof b[key] === "object" && !Array.isArray(b[key]);
      out[key] = both ? merged(out[key], b[key]) : b[key];
    }
    return out;
  };

  const axis = {
    color: "@muted", gridcolor: "@grid", linecolor: "@rule", tickcolor: "@rule", zeroline: false, ticks: "outside", ticklen: 4,
    showline: true, automargin: true, fixedrange: false, title: { standoff: 8, font: { color: "@ink" } },
  };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest", dragmode: "zoom",
    margin: { l: 58, r: 14, t: 22, b: 46 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "@muted/0.6", activecolor: "@ink" },
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "@ink" },
    hoverlabel: { bgcolor: "@paper", bordercolor: "@muted", font: { color: "@ink", size: 12.5 }, align: "left" },
    xaxis: axis, yaxis: axis,
  };
  const config = {
    displaylogo: false, responsive: true, showSendToCloud: false, showEditInChartStudio: false, showTips: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "zoom2d"],
  };

  const figures = [...document.querySelectorAll("figure")].filter((f) => f.querySelector("script")).map((element) => ({
    element,
    spec: JSON.parse(element.querySelector("script").textContent),
    plots: [...element.querySelectorAll(".plot")],
    hidden: new Set(),
  }));

  const draw = ({ element, spec, plots, hidden }) => {
    const style = getComputedStyle(root);
    const select = element.querySelector("select");
    const view = select ? spec.views[Number(select.value)] : null;
    return Promise.all(plots.map((plot, n) => {
      const panel = spec.panels[n];
      const behind = (view && spec.backgrounds[view.behind]) || [];
      const traces = [...panel.traces, ...(behind[n] || []), ...(view ? view.traces[n] || [] : [])];
      const layout = merged(merged(base, panel.layout), view && view.layouts[n]);
      const shown = traces.map((t) => ({ ...t, visible: !hidden.has(t.legendgroup) }));
      const name = (element.id + "-" + n);
      if (root.classList.contains("printing")) Object.assign(layout, { width: plot.clientWidth, height: plot.clientHeight });
      const own = { ...config, toImageButtonOptions: { filename: name, scale: 2 } };
      return Plotly.react(plot, painted(shown, style), painted(layout, style), own);
    }));
  };
  const drawAll = () => Promise.all(figures.map(draw));

  for (const figure of figures) {
    figure.element.querySelector("select")?.addEventListener("change", () => draw(figure));
    for (const button of figure.element.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        figure.hidden[shown ? "delete" : "add"](button.dataset.group);
        draw(figure);
      });
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  // the print layout is not known before printing: figures are redrawn for the width and colours of paper
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      details.dataset.shut = "";
    }
    for (const select of document.querySelectorAll("select")) {
      select.nextElementSibling.textContent = select.selectedOptions[0].textContent;
    }
    drawAll();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    for (const details of document.querySelectorAll("details[data-shut]")) {
      details.open = false;
      delete details.dataset.shut;
    }
    drawAll();
  });

  // --- tables
  for (const table of document.querySelectorAll("table")) {
    const unfold = table.parentElement.querySelector(".unfold");
    if (unfold) {
      table.classList.add("folded");
      unfold.addEventListener("click", () => {
        table.classList.remove("folded");
        table.parentElement.querySelector(".printed")?.remove();
        unfold.remove();
      });
    }
    if (!table.classList.contains("sortable")) continue;
    const rows = [...table.tBodies[0].rows];
    const first = rows.findIndex((row) => row.classList.contains("more"));
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const numeric = head.classList.contains("number") || rows.some((row) => row.cells[column].querySelector(".share"));
        const order = head.getAttribute("aria-sort") || (numeric && column > 0 ? "ascending" : "descending");
        const sign = order === "ascending" ? -1 : 1;
        for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
        const sorted = [...rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
        });
        sorted.forEach((row, n) => row.classList.toggle("more", first >= 0 && n >= first));
        table.tBodies[0].append(...sorted);
      });
    });
  }

  // --- which section is in view
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = links.get(entry.target.id);
      if (!link) continue;
      if (entry.isIntersecting) {
        for (const other of links.values()) other.removeAttribute("aria-current");
        link.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("section")) seen.observe(section);

  drawAll().then(() => { root.dataset.drawn = String(document.querySelectorAll(".js-plotly-plot").length); });
})();
