// Draws the report's charts and table from the data embedded in the page; nothing is loaded, text stays text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const kinds = data.kinds.map((kind) => kind.id);
  const timelineOf = new Map(data.timelines.map((one, at) => [one.row, at]));
  const ROWS = 50;

  // --- elements -------------------------------------------------------------------------------------------
  const byId = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const draw = (name, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  // Foreign text keeps its direction to itself.
  const foreign = (text) => make("bdi", {}, text);

  // --- numbers, written as in ANALYSIS_REPORT.md ----------------------------------------------------------
  const absent = (value) => value === null || value === undefined;
  function number(value, digits = 3) {
    if (absent(value)) return "–";
    const text = value.toFixed(digits);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
  }
  function percent(share) {
    if (absent(share)) return "–";
    if (share === 0 || share === 1) return `${100 * share}%`;
    if (share < 0.001) return "< 0.1%";
    return share > 0.999 ? "> 99.9%" : `${(100 * share).toFixed(1)}%`;
  }
  const seconds = (value) => `${Number(value.toFixed(1))}`.replace("-", "−");
  const count = (value) => value.toLocaleString("en-US");
  const kindName = (kind) => ({ attention: "Attention gate", ffn: "FFN gate" })[kind] || `${kind} gate`;

  // --- colours --------------------------------------------------------------------------------------------
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const toggle = byId("theme");
  function remembered(value) {
    try { // a page opened from a file may have no storage
      if (value === undefined) return localStorage.getItem("gatescope-theme");
      localStorage.setItem("gatescope-theme", value);
    } catch { /* then the choice lasts as long as the page */ }
    return null;
  }
  function showTheme() {
    const dark = (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
    toggle.textContent = dark ? "☀ Light" : "☾ Dark";
    toggle.setAttribute("aria-pressed", String(dark));
  }
  if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
  toggle.addEventListener("click", () => {
    root.dataset.theme = toggle.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    remembered(root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();

  // --- tooltip --------------------------------------------------------------------------------------------
  const tip = byId("tip");
  function showTip(x, y, title, lines) {
    tip.replaceChildren(make("b", {}, foreign(title)), ...lines.map((line) => make("div", {}, foreign(line))));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = x + 14 + width > innerWidth - 8 ? x - 14 - width : x + 14;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, Math.min(y + 14, innerHeight - height - 8))}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  addEventListener("scroll", hideTip, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

  // --- scales ---------------------------------------------------------------------------------------------
  const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  function span(values, room = 0.06) {
    let low = 0, high = 0;
    for (const value of values) {
      if (absent(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const more = room * (high - low) || 0.05;
    return [low < 0 ? low - more : low, high > 0 ? high + more : high];
  }
  function ticks(low, high, most) {
    const rough = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(low / step); at * step <= high + 1e-9 * step; at += 1) found.push(at * step);
    return found;
  }
  const tickText = (value) => `${Number(value.toPrecision(6))}`.replace("-", "−");
  const text = (x, y, content, anchor = "start", strong = false) =>
    draw("text", { x, y, "text-anchor": anchor, ...(strong ? { class: "strong" } : {}) }, content);
  const line = (x1, y1, x2, y2, name) => draw("line", { x1, y1, x2, y2, class: name });

  // Redraws a chart whenever its place changes width.
  function responsive(host, paint) {
    let last = 0;
    new ResizeObserver(() => {
      const width = Math.floor(host.clientWidth);
      if (width > 0 && width !== last) { last = width; paint(width); }
    }).observe(host);
    return () => { if (last) paint(last); };
  }

  // --- levels: every gate's mean and mean |g| with their intervals ----------------------------------------
  function paintLevels(host, width) {
    const left = 38, right = 8, row = 25, head = 22;
    const [low, high] = span(data.levels.flatMap((level) => level.slice(2)));
    const x = scale(low, high, left, width - right);
    const height = kinds.length * head + data.levels.length * row + 44;
    const svg = draw("svg", { width, height, role: "img", "aria-label": "Every gate's mean and mean |g| with intervals" });
    let y = 0;
    for (const at of ticks(low, high, width / 70)) {
      svg.append(line(x(at), 4, x(at), height - 42, at === 0 ? "zero" : "axis"));
      svg.append(text(x(at), height - 27, tickText(at), "middle"));
    }
    kinds.forEach((kind, place) => {
      svg.append(text(0, y + 15, kindName(kind), "start", true));
      y += head;
      for (const [layer, of, mean, meanLow, meanHigh, size, sizeLow, sizeHigh] of data.levels) {
        if (of !== kind) continue;
        const group = draw("g", { class: `kind-${place % 5}` });
        const name = layer === null ? "all" : String(layer);
        group.append(text(left - 8, y + 16, name, "end"), draw("rect", { x: 0, y, width, height: row, fill: "transparent" }));
        if (!absent(meanLow)) group.append(line(x(meanLow), y + 8, x(meanHigh), y + 8, "whisker"));
        if (!absent(mean)) group.append(draw("circle", { cx: x(mean), cy: y + 8, r: 4, class: "dot" }));
        if (!absent(sizeLow)) group.append(line(x(sizeLow), y + 17, x(sizeHigh), y + 17, "whisker"));
        if (!absent(size)) group.append(draw("path", { d: `M${x(size) - 5} ${y + 17}l5 -5l5 5l-5 5z`, class: "diamond" }));
        const between = (from, to) => (absent(from) ? "" : ` [${number(from)}, ${number(to)}]`);
        group.addEventListener("pointermove", (event) => showTip(event.clientX, event.clientY,
          `${kindName(kind)}, ${layer === null ? "all layers" : `layer ${layer}`}`,
          [`mean ${number(mean)}${between(meanLow, meanHigh)}`, `mean |g| ${number(size)}${between(sizeLow, sizeHigh)}`]));
        group.addEventListener("pointerleave", hideTip);
        svg.append(group);
        y += row;
      }
    });
    const legend = draw("g", { class: "kind-0" });
    legend.append(draw("circle", { cx: left + 4, cy: height - 9, r: 4, class: "dot" }), text(left + 13, height - 5, "mean"),
      draw("path", { d: `M${left + 61} ${height - 9}l5 -5l5 5l-5 5z`, class: "diamond" }), text(left + 76, height - 5, "mean |g|"));
    svg.append(legend);
    host.replaceChildren(svg);
  }

  // --- every sample ---------------------------------------------------------------------------------------
  let chosen = -1;
  const layerChoice = byId("chart-layer"), valueChoice = byId("chart-value");
  valueChoice.append(...data.statistics.map((of) => make("option", { value: of.id }, of.heading)));
  const chosenStatistic = () => data.statistics.find((of) => of.id === valueChoice.value);
  const layered = kinds.length > 0 && data.gates[kinds[0]].mean.length > 1;
  layerChoice.append(make("option", { value: 0 }, "all"),
    ...(layered ? data.layers.map((layer, at) => make("option", { value: at + 1 }, String(layer))) : []));

  function axes() {
    const at = Number(layerChoice.value);
    const axis = (kind, of) => {
      const columns = data.gates[kind][of.id];
      // Single layers are on one scale, so that they can be compared.
      return { label: `${kindName(kind)}, ${of.heading}`, values: columns[at], compared: at === 0 ? [columns[0]] : columns.slice(1) };
    };
    // With two kinds of gate one is set against the other, with one kind its mean against its size.
    return kinds.length > 1 ? [axis(kinds[0], chosenStatistic()), axis(kinds[1], chosenStatistic())] : [axis(kinds[0], data.statistics[0]), axis(kinds[0], data.statistics[1])];
  }
  function sampleLines(row) {
    const at = Number(layerChoice.value);
    const where = at === 0 ? "all layers" : `layer ${data.layers[at - 1]}`;
    return [data.vid[row], ...kinds.map((kind) =>
      `${kindName(kind)}, ${where}: ${data.statistics.map((of) => `${of.heading} ${number(data.gates[kind][of.id][at][row])}`).join(", ")}`)];
  }
  function paintSamples(host, width) {
    const left = 46, right = 10, top = 20, bottom = 40;
    const height = Math.round(Math.max(260, Math.min(460, 0.5 * width)));
    const [horizontal, vertical] = axes();
    const spanX = span(horizontal.compared.flat()), spanY = span(vertical.compared.flat());
    const x = scale(...spanX, left, width - right), y = scale(...spanY, height - bottom, top);
    const svg = draw("svg", { width, height, tabindex: 0, role: "application",
      "aria-label": `Samples: ${horizontal.label} against ${vertical.label}. Arrow keys move from sample to sample.` });
    for (const at of ticks(...spanX, width / 90)) {
      svg.append(line(x(at), top, x(at), height - bottom, at === 0 ? "zero" : "axis"), text(x(at), height - bottom + 16, tickText(at), "middle"));
    }
    for (const at of ticks(...spanY, height / 55)) {
      svg.append(line(left, y(at), width - right, y(at), at === 0 ? "zero" : "axis"), text(left - 6, y(at) + 4, tickText(at), "end"));
    }
    svg.append(text((left + width - right) / 2, height - 5, horizontal.label, "middle", true), text(2, 12, vertical.label, "start", true));
    const points = [];
    const layer = draw("g"), above = draw("g");
    data.qid.forEach((_, row) => {
      const one = horizontal.values[row], other = vertical.values[row];
      if (absent(one) || absent(other)) return;
      const ringed = timelineOf.has(row);
      points.push({ row, x: x(one), y: y(other) });
      (ringed ? above : layer).append(draw("circle", { cx: x(one).toFixed(1), cy: y(other).toFixed(1),
        r: ringed ? 4.5 : data.qid.length > 800 ? 2.6 : 3.6, class: ringed ? "point ringed" : "point" }));
    });
    const halo = draw("circle", { r: 8, class: "halo", visibility: "hidden" });
    svg.append(layer, above, halo);
    points.sort((one, other) => one.x - other.x || one.y - other.y);
    let current = points.findIndex((point) => point.row === chosen);
    const mark = (at) => {
      halo.setAttribute("visibility", at < 0 ? "hidden" : "visible");
      if (at < 0) return;
      halo.setAttribute("cx", points[at].x);
      halo.setAttribute("cy", points[at].y);
    };
    mark(current);
    const show = (at) => {
      current = at;
      mark(at);
      const box = svg.getBoundingClientRect();
      const { row } = points[at];
      showTip(box.left + points[at].x, box.top + points[at].y, data.qid[row], sampleLines(row));
    };
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const px = event.clientX - box.left, py = event.clientY - box.top;
      let best = -1, least = 20 ** 2;
      points.forEach((point, at) => {
        const distance = (point.x - px) ** 2 + (point.y - py) ** 2;
        if (distance < least) { least = distance; best = at; }
      });
      return best;
    };
    const leave = () => { hideTip(); current = points.findIndex((point) => point.row === chosen); mark(current); };
    svg.addEventListener("pointermove", (event) => { const at = nearest(event); if (at < 0) leave(); else show(at); });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", hideTip);
    svg.addEventListener("click", (event) => { const at = nearest(event); if (at >= 0) choose(points[at].row); });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -points.length, End: points.length }[event.key];
      if (step && points.length) { show(Math.max(0, Math.min(points.length - 1, current + step))); event.preventDefault(); }
      if (event.key === "Enter" && current >= 0) choose(points[current].row);
    });
    host.replaceChildren(svg);
  }

  // --- one sample over time -------------------------------------------------------------------------------
  // All layers of all timelines are on one scale, so that they can be compared.
  const gatesOf = (one) => one.layers.flatMap((layer) => kinds.flatMap((kind) => layer.gates[kind].map((at) => at[2])));
  const everyGate = span(data.timelines.flatMap(gatesOf), 0.1);
  function timelineSvg(one, width) {
    const left = 74, right = 12, bottom = 30, gap = 10;
    const windows = one.predicted.slice(0, 5);
    const rowHeight = one.layers.length > 6 ? 46 : 66;
    const strips = (one.truth.length ? 18 : 0) + windows.length * 9 + (one.truth.length || windows.length ? gap : 0);
    const below = one.saliency.length || one.rated.length ? 58 + gap : 0;
    const height = strips + one.layers.length * (rowHeight + gap) + below + bottom;
    const x = scale(0, one.seconds, left, width - right);
    const [low, high] = everyGate;
    const svg = draw("svg", { width, height, tabindex: 0, role: "application", "aria-label": "Gates over time. Arrow keys move from clip to clip." });
    const bars = draw("g"), body = draw("g");
    let y = 0;
    if (one.truth.length) {
      for (const [from, to] of one.truth) bars.append(draw("rect", { x: x(from), y: 2, width: x(to) - x(from), height: 11, rx: 2, class: "truth" }));
      bars.append(text(left - 8, 12, "true", "end"));
      y = 18;
    }
    windows.forEach(([from, to, score], place) => {
      bars.append(draw("rect", { x: x(from), y: y + 1, width: Math.max(1, x(to) - x(from)), height: 7, rx: 1.5, class: "window",
        "fill-opacity": 0.2 + 0.8 * Math.max(0, Math.min(1, absent(score) ? 1 : score)) }));
      if (place === 0) bars.append(text(left - 8, y + 9, "predicted", "end"));
      y += 9;
    });
    y = strips;
    for (const [from, to] of one.truth) body.append(draw("rect", { x: x(from), y, width: x(to) - x(from), height: height - y - bottom, class: "truth shade" }));
    for (const { layer, gates } of one.layers) {
      const value = scale(low, high, y + rowHeight, y);
      for (const at of ticks(low, high, rowHeight / 28)) {
        body.append(line(left, value(at), width - right, value(at), at === 0 ? "zero" : "axis"), text(left - 6, value(at) + 4, tickText(at), "end"));
      }
      body.append(text(0, y + 10, `layer ${layer}`, "start", true));
      kinds.forEach((kind, place) => {
        // A single value spans the whole video; others are joined from the middle of one clip to the next.
        const own = gates[kind], whole = own.length === 1;
        let path = "", pen = "M";
        for (const [from, to, gate] of own) {
          if (absent(gate)) { pen = "M"; continue; }
          path += whole ? `M${x(from)} ${value(gate)}H${x(to)}` : `${pen}${x((from + to) / 2).toFixed(1)} ${value(gate).toFixed(1)}`;
          pen = "L";
        }
        body.append(draw("path", { d: path, class: `curve kind-${place % 5}` }));
      });
      y += rowHeight + gap;
    }
    if (below) {
      body.append(text(0, y + 10, one.saliency.length ? "saliency" : "rated", "start", true));
      const scores = one.saliency.map((at) => at[2]).filter((at) => !absent(at));
      const value = scale(Math.min(...scores), Math.max(...scores), y + 56, y + 2);
      for (const [from, to, score] of one.saliency) {
        if (!absent(score)) body.append(draw("rect", { x: x(from), y: value(score), width: Math.max(0.5, x(to) - x(from) - 0.5), height: y + 58 - value(score), class: "saliency" }));
      }
      const rated = scale(0, 4, y + 56, y + 2);
      for (const [from, to, rating] of one.rated) body.append(draw("circle", { cx: x((from + to) / 2), cy: rated(rating), r: 2.2, class: "rated" }));
    }
    for (const at of ticks(0, one.seconds, width / 80)) {
      body.append(line(x(at), height - bottom, x(at), height - bottom + 4, "zero"), text(x(at), height - bottom + 17, tickText(at), "middle"));
    }
    body.append(line(left, height - bottom, width - right, height - bottom, "zero"), text(0, height - bottom + 17, one.unit));
    const cross = line(0, 0, 0, height - bottom, "cross");
    cross.setAttribute("visibility", "hidden");
    svg.append(bars, body, cross);

    const longest = one.layers.flatMap((layer) => kinds.map((kind) => layer.gates[kind]))
      .concat([one.saliency]).reduce((best, rows) => (rows.length > best.length ? rows : best), []);
    const within = (rows, time) => rows.find(([from, to]) => from <= time && time < to);
    let clip = -1;
    const show = (at, pointer) => {
      clip = at;
      const [from, to] = longest[at], middle = (from + to) / 2;
      cross.setAttribute("x1", x(middle));
      cross.setAttribute("x2", x(middle));
      cross.setAttribute("visibility", "visible");
      const lines = one.layers.map(({ layer, gates }) => `layer ${layer}: ` + kinds
        .map((kind) => `${kind} ${number((within(gates[kind], middle) || [])[2])}`).join(" · "));
      const salient = within(one.saliency, middle), rating = within(one.rated, middle), window = within(one.predicted, middle);
      if (salient) lines.push(`saliency ${number(salient[2])}`);
      if (rating) lines.push(`rated ${number(rating[2], 2)} of 4`);
      if (window) lines.push(`in the predicted window ${seconds(window[0])}–${seconds(window[1])} s, score ${number(window[2])}`);
      if (within(one.truth, middle)) lines.push("in a true window");
      const box = svg.getBoundingClientRect();
      showTip(pointer ? pointer.clientX : box.left + x(middle), pointer ? pointer.clientY : box.top + 30, `${seconds(from)}–${seconds(to)} ${one.unit === "seconds" ? "s" : one.unit}`, lines);
    };
    const leave = () => { cross.setAttribute("visibility", "hidden"); hideTip(); };
    svg.addEventListener("pointermove", (event) => {
      const time = ((event.clientX - svg.getBoundingClientRect().left - left) / (width - left - right)) * one.seconds;
      const at = longest.findIndex(([from, to]) => from <= time && time < to);
      if (at < 0) leave(); else show(at, event);
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -longest.length, End: longest.length }[event.key];
      if (step && longest.length) { show(Math.max(0, Math.min(longest.length - 1, clip + step))); event.preventDefault(); }
    });
    return svg;
  }
  function sign(name, shape) {
    const svg = draw("svg", { width: 22, height: 12, "aria-hidden": "true" });
    svg.append(shape);
    return make("span", {}, svg, name);
  }
  function legendOf(one) {
    const signs = kinds.map((kind, place) => sign(kindName(kind), draw("path", { d: "M1 6H21", class: `curve kind-${place % 5}` })));
    if (one.truth.length) signs.push(sign("true window", draw("rect", { x: 1, y: 1, width: 20, height: 10, rx: 2, class: "truth" })));
    if (one.predicted.length) signs.push(sign(`predicted windows, top ${Math.min(5, one.predicted.length)} (stronger: surer)`, draw("rect", { x: 1, y: 2, width: 20, height: 8, rx: 2, class: "window" })));
    if (one.saliency.length) signs.push(sign("saliency, predicted", draw("rect", { x: 1, y: 1, width: 20, height: 10, class: "saliency" })));
    if (one.rated.length) signs.push(sign("rated by people, 0–4", draw("circle", { cx: 11, cy: 6, r: 2.4, class: "rated" })));
    return make("div", { class: "legend" }, ...signs);
  }
  function storyOf(one) {
    const { row } = one;
    const words = data.query[row] ? make("q", { dir: "auto", class: "clamp" }, data.query[row]) : "";
    return make("div", { class: "story" }, words,
      make("div", {}, "query ", foreign(data.qid[row]), " of video ", foreign(data.vid[row]), `, ${count(data.clips[row])} clips`),
      make("ul", {}, ...one.reasons.map((reason) => make("li", {}, foreign(reason)))));
  }
  const stage = byId("timeline"), buttons = [];
  let shown = data.timelines.length ? 0 : -1;
  function paintTimeline(host, width) {
    if (shown < 0) return host.replaceChildren(make("p", { class: "note" }, "There are no timelines in this report."));
    const one = data.timelines[shown];
    host.replaceChildren(storyOf(one), legendOf(one), timelineSvg(one, width));
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === shown)));
    return undefined;
  }
  data.timelines.forEach((one, at) => {
    const button = make("button", { type: "button", "aria-pressed": "false" }, make("b", {}, foreign(data.qid[one.row])), make("span", {}, foreign(one.reasons[0])));
    button.addEventListener("click", () => choose(one.row));
    buttons.push(button);
    byId("exemplars").append(button);
    return at;
  });

  // --- table of samples -----------------------------------------------------------------------------------
  const column = (name, values, show, kind) => ({ name, values, show, kind });
  const columns = [
    column("query", data.qid, null, "id"), column("video", data.vid, null, "id"), column("text", data.query, null, "words"),
    column("clips", data.clips, count, "number"),
    ...kinds.flatMap((kind) => data.statistics.map((of) =>
      column(`${kind} ${of.heading}`, data.gates[kind][of.id][0], number, "number"))),
    ...data.metrics.map((metric) => column(metric.name, metric.values, percent, "number")),
  ];
  const haystack = data.qid.map((qid, row) => `${qid}\n${data.vid[row]}\n${data.query[row]}`.toLowerCase());
  const table = byId("rows"), body = make("tbody");
  const order = { column: -1, falling: false };
  let matching = data.qid.map((_, row) => row), first = 0;
  const heads = columns.map((of, at) => {
    const button = make("button", { type: "button" }, of.name);
    const head = make("th", { scope: "col", class: of.kind === "number" ? "number" : "" }, button);
    button.addEventListener("click", () => {
      // Numbers are first shown from the largest, words from the beginning.
      order.falling = order.column === at ? !order.falling : of.kind === "number";
      order.column = at;
      arrange();
    });
    return head;
  });
  table.append(make("thead", {}, make("tr", {}, ...heads)), body);
  const compare = new Intl.Collator("en", { numeric: true }).compare;

  function arrange() {
    const wanted = byId("search").value.trim().toLowerCase();
    matching = [];
    haystack.forEach((hay, row) => { if (hay.includes(wanted)) matching.push(row); });
    if (order.column >= 0) {
      const { values, kind } = columns[order.column];
      const sense = order.falling ? -1 : 1;
      matching.sort((one, other) => {
        const a = values[one], b = values[other];
        if (absent(a) || absent(b)) return absent(a) - absent(b); // what has no value comes last
        return sense * (kind === "number" ? a - b : compare(a, b)) || one - other;
      });
    }
    heads.forEach((head, at) => {
      const now = at === order.column;
      if (now) head.setAttribute("aria-sort", order.falling ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.firstChild.textContent = columns[at].name + (now ? (order.falling ? " ↓" : " ↑") : "");
    });
    first = 0;
    showRows();
  }
  function cell(of, row) {
    if (of.kind === "number") return make("td", { class: "number" }, of.show(of.values[row]));
    if (of.kind === "words") return make("td", { class: "words" }, make("div", { dir: "auto" }, of.values[row]));
    const name = foreign(of.values[row]);
    if (of !== columns[0] || !timelineOf.has(row)) return make("td", { class: "id" }, name);
    const button = make("button", { type: "button", title: "show its timeline" }, name);
    button.addEventListener("click", () => { choose(row); byId("time").scrollIntoView(); });
    return make("td", { class: "id" }, button);
  }
  function showRows() {
    const rows = matching.slice(first, first + ROWS);
    body.replaceChildren(...rows.map((row) => make("tr", { class: row === chosen ? "is-chosen" : "" }, ...columns.map((of) => cell(of, row)))));
    byId("found").textContent = rows.length
      ? `${count(first + 1)}–${count(first + rows.length)} of ${count(matching.length)}${matching.length < data.qid.length ? ` found among ${count(data.qid.length)}` : ""}`
      : "nothing found";
    byId("back").disabled = first === 0;
    byId("next").disabled = first + ROWS >= matching.length;
  }
  byId("search").addEventListener("input", arrange);
  byId("back").addEventListener("click", () => { first = Math.max(0, first - ROWS); showRows(); });
  byId("next").addEventListener("click", () => { first += ROWS; showRows(); });

  // --- choosing a sample ----------------------------------------------------------------------------------
  const repaintLevels = responsive(byId("levels"), (width) => paintLevels(byId("levels"), width));
  const repaintSamples = responsive(byId("samples"), (width) => paintSamples(byId("samples"), width));
  const repaintTimeline = responsive(stage, (width) => paintTimeline(stage, width));
  layerChoice.addEventListener("change", repaintSamples);
  valueChoice.addEventListener("change", repaintSamples);
  function choose(row) {
    chosen = row;
    const at = timelineOf.get(row);
    const note = byId("chosen");
    note.replaceChildren("Chosen: query ", foreign(data.qid[row]), data.query[row] ? ", “" : "",
      make("bdi", {}, data.query[row].slice(0, 160)), data.query[row] ? "”. " : ". ",
      at === undefined ? "Its timeline is not in this page: analyse again with --sample and its id." : "Its timeline is below.");
    if (at !== undefined) { shown = at; repaintTimeline(); }
    repaintSamples();
    showRows();
  }
  arrange();
  repaintLevels();

  // --- paper: every timeline, not only the one on the screen ----------------------------------------------
  const paper = matchMedia("print");
  function toPaper() {
    byId("all-timelines").replaceChildren(...data.timelines.map((one) => make("div", {}, storyOf(one), legendOf(one), timelineSvg(one, 680))));
  }
  const fromPaper = () => byId("all-timelines").replaceChildren();
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
  paper.addEventListener("change", () => (paper.matches ? toPaper() : fromPaper()));
})();
