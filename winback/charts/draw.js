// Charts as SVG, drawn where they are shown: at the width there is, in the reader's locale. A chart is a plain object (winback/charts/__init__.py
// says which); this is the only place that turns one into a picture, its text alternative, its table and its CSV.
"use strict";

const charts = (() => {
  const LOCALE = navigator.language || "en";
  const ROW = 30, THICK = 18;
  const pen = document.createElement("canvas").getContext("2d");
  let currency = null;

  const numbers = (options) => { const f = new Intl.NumberFormat(LOCALE, options); return (v) => f.format(v); };
  const whole = numbers({ maximumFractionDigits: 0 }), tenth = numbers({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const exact = numbers({ maximumFractionDigits: 2 }), short = numbers({ notation: "compact", maximumFractionDigits: 1 });
  const signed = (f) => (v) => (f(Math.abs(v)) === f(0) ? "" : v > 0 ? "+" : "−") + f(Math.abs(v));
  const money = (options) => (v) => new Intl.NumberFormat(LOCALE, { ...(currency ? { style: "currency", currency } : {}), ...options }).format(v);
  const percent = (least, most = least) => numbers({ style: "percent", minimumFractionDigits: least, maximumFractionDigits: most });
  const rounded = (v) => money(Math.abs(v) < 1000 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumFractionDigits: 0 })(v);
  // How a value of a unit is written, and how at an axis.
  const units = {
    count: [whole, (v) => (Math.abs(v) < 10000 ? exact(v) : short(v))],
    percent: [(v) => percent(1)(v / 100), (v) => percent(0, 2)(v / 100)],
    points: [(v) => signed(tenth)(v) + " pp", (v) => signed(exact)(v)],
    money: [rounded, money({ notation: "compact", maximumFractionDigits: 1 })],
    gain: [(v) => signed(rounded)(v), (v) => money({ notation: "compact", maximumFractionDigits: 1 })(v)],
    number: [exact, exact],
  };
  const show = (unit, value) => (value === null || value === undefined || Number.isNaN(value) ? "–" : units[unit][0](value));
  const day = (iso, options) => new Intl.DateTimeFormat(LOCALE, { timeZone: "UTC", ...options }).format(new Date(iso + "T00:00:00Z"));
  const dates = { short: (iso) => day(iso, { day: "numeric", month: "short" }), long: (iso) => day(iso, { dateStyle: "medium" }),
    month: (iso) => day(iso, { month: "short", year: "numeric" }) };

  const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const sum = (values) => values.reduce((total, v) => total + (v || 0), 0);
  const wide = (text, size = 13) => { pen.font = `${size}px system-ui, sans-serif`; return pen.measureText(text).width; };
  const fit = (text, room) => {
    if (wide(text) <= room) return text;
    let cut = text;
    while (cut.length > 1 && wide(cut + "…") > room) cut = cut.slice(0, -1);
    return cut + "…";
  };
  const write = (x, y, text, anchor = "start", style = "") =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${style ? ` class="${style}"` : ""}>${escape(text)}</text>`;
  const box = (x, y, w, h, style, tip = "", round = 2) =>
    `<rect class="${style}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${Math.max(w, 0).toFixed(1)}" height="${Math.max(h, 0).toFixed(1)}" rx="${round}"` +
    `${tip ? ` data-tip="${escape(tip)}"` : ""}/>`;
  const rule = (x1, y1, x2, y2, style) => `<line class="${style}" x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}"/>`;

  function ticks(low, high, most) {
    const span = high - low || 1, raw = span / most, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
    const found = [];
    for (let n = Math.ceil(low / step); n * step <= high + step * 1e-6; n++) found.push(Number((n * step).toPrecision(12)));
    return found;
  }

  function legend(entries, width) {
    let x = 0, y = 0;
    const parts = entries.map(({ name, style, dashed }) => {
      const room = 24 + wide(name, 12) + 18;
      if (x && x + room > width) { x = 0; y += 20; }
      const sign = dashed ? `<line class="line dashed ${style}" x1="${x}" x2="${x + 18}" y1="${y + 9}" y2="${y + 9}"/>` : box(x, y + 3, 12, 12, style);
      const part = sign + write(x + (dashed ? 24 : 18), y + 13, name, "start", "soft");
      x += room + (dashed ? 6 : 0);
      return part;
    });
    return { svg: parts.join(""), height: parts.length ? y + 28 : 0 };
  }
  const named = (chart) => (chart.series || []).filter((s) => s.name);
  const paleNote = (chart, rows) => (rows.some((r) => r.pale) ? [{ name: chart.paleMeans || "immature: can still change", style: "s0 pale" }] : []);

  function bars(chart, width) {
    const narrow = width < 520, top = legend([...named(chart), ...paleNote(chart, chart.rows)], width);
    const told = chart.rows.map((r) => r.told ?? show(chart.unit, sum(r.values)));
    const right = Math.min(Math.max(0, ...told.map((t) => wide(t))) + 12, width * .45);
    const left = narrow ? 0 : Math.min(Math.max(60, ...chart.rows.map((r) => wide(r.label))) + 12, width * .38);
    const room = width - left - right, high = narrow ? ROW + 18 : ROW;
    const largest = chart.most || Math.max(0, ...chart.rows.map((r) => sum(r.values))) || 1;
    let svg = top.svg;
    chart.rows.forEach((row, i) => {
      const y = top.height + i * high + (narrow ? 20 : 3);
      svg += narrow ? write(0, y - 6, fit(row.label, width)) : write(left - 10, y + 14, fit(row.label, left - 12), "end");
      svg += box(left, y, room, THICK, "faint", "", 4);
      let x = left;
      row.values.forEach((value, n) => {
        const w = room * (value || 0) / largest, s = (chart.series || [])[n] || {};
        if (w > 0) svg += box(x, y, Math.max(w, 1.5), THICK, `${row.style || s.style || "s0"}${row.pale ? " pale" : ""}`,
          `${row.label}${s.name ? `\n${s.name}` : ""}: ${show(chart.unit, value)}${row.tip ? `\n${row.tip}` : ""}`, 4);
        x += w;
      });
      svg += write(left + room + 10, y + 14, told[i]);
    });
    return { svg, height: top.height + chart.rows.length * high + 4 };
  }

  // An axis with room for its numbers: {left, y(value), svg}.
  function scale(chart, low, high, top, base, width) {
    const marks = ticks(low, high, 4), write_ = units[chart.unit][1];
    const left = Math.max(0, ...marks.map((m) => wide(write_(m), 12))) + 10;
    const y = (v) => base - (base - top) * (v - low) / (high - low || 1);
    return { left, y, svg: marks.map((m) => rule(left, y(m), width, y(m), "grid") + write(left - 8, y(m) + 4, write_(m), "end", "soft")).join("") };
  }
  function labels(points, x, y, width) {
    const each = Math.max(1, Math.ceil(points.length * (Math.max(0, ...points.map((p) => wide(p, 12))) + 14) / width));
    return points.map((p, i) => (i % each ? "" : write(x(i), y, p, "middle", "soft"))).join("");
  }

  function columns(chart, width) {
    const top = legend([...named(chart), ...paleNote(chart, chart.rows)], width), base = top.height + 190;
    const totals = chart.rows.map((r) => sum(r.values));
    const high = Math.max(0, ...totals, ...chart.rows.map((r) => r.high ?? 0)) || 1, low = Math.min(0, ...totals, ...chart.rows.map((r) => r.low ?? 0));
    const axis = scale(chart, low, high * 1.04, top.height + 12, base, width), step = (width - axis.left) / Math.max(chart.rows.length, 1);
    const centre = (i) => axis.left + step * (i + .5), thick = Math.max(Math.min(step * .72, 44), 1);
    let svg = top.svg + axis.svg;
    chart.rows.forEach((row, i) => {
      let from = 0;
      row.values.forEach((value, n) => {
        if (!value) return;
        const s = (chart.series || [])[n] || {}, a = axis.y(from), b = axis.y(from + value);
        svg += box(centre(i) - thick / 2, Math.min(a, b), thick, Math.max(Math.abs(a - b), .8), `${s.style || "s0"}${row.pale ? " pale" : ""}`, "", Math.min(2, thick / 4));
        from += value;
      });
      if (row.low !== undefined && row.low !== null) svg += rule(centre(i), axis.y(row.low), centre(i), axis.y(row.high), "axis");
      const parts = row.values.map((v, n) => `${(chart.series || [])[n]?.name ? `${chart.series[n].name}: ` : ""}${show(chart.unit, v)}`);
      svg += box(axis.left + step * i, top.height + 12, step, base - top.height - 12, "hit", `${row.label}\n${parts.join("\n")}${row.tip ? `\n${row.tip}` : ""}`, 0);
    });
    svg += rule(axis.left, axis.y(0), width, axis.y(0), "axis") + labels(chart.rows.map((r) => r.tick || r.label), centre, base + 18, width - axis.left);
    return { svg, height: base + 26 };
  }

  function lines(chart, width) {
    const top = legend(named(chart), width), base = top.height + 210;
    const all = chart.series.flatMap((s) => s.values).filter((v) => v !== null);
    const axis = scale(chart, chart.least ?? 0, Math.max(...all, 0) * 1.06 || 1, top.height + 8, base, width);
    const last = Math.max(chart.ticks.length - 1, 1), x = (i) => axis.left + (width - axis.left - 6) * i / last;
    let svg = top.svg + axis.svg;
    chart.series.forEach((s) => {
      let path = "", open = false;
      s.values.forEach((v, i) => {
        if (v === null) { open = false; return; }
        path += !open ? `M${x(i).toFixed(1)} ${axis.y(v).toFixed(1)}` : chart.steps ? `H${x(i).toFixed(1)}V${axis.y(v).toFixed(1)}` : `L${x(i).toFixed(1)} ${axis.y(v).toFixed(1)}`;
        open = true;
      });
      svg += `<path class="line ${s.style}${s.dashed ? " dashed" : ""}" d="${path}"/>`;
    });
    if (chart.marker) svg += rule(x(chart.marker.at), top.height + 4, x(chart.marker.at), base, "mark") +
      write(Math.min(Math.max(x(chart.marker.at), axis.left + wide(chart.marker.name, 12) / 2), width - wide(chart.marker.name, 12) / 2), top.height, chart.marker.name, "middle", "soft");
    const reach = Math.max((width - axis.left) / (last + 1), 3);
    chart.ticks.forEach((name, i) => {
      svg += box(x(i) - reach / 2, top.height, reach, base - top.height, "hit",
        `${name}\n${chart.series.map((s) => `${s.name}: ${show(chart.unit, s.values[i])}`).join("\n")}`, 0);
    });
    svg += rule(axis.left, base, width, base, "axis");
    const needed = chart.ticks.length / Math.max(2, Math.floor((width - axis.left) / (wide(chart.ticks.at(-1) || "", 12) + 34)));
    const every = (chart.strides || []).find((n) => n >= needed) || Math.max(1, Math.ceil(needed));
    svg += chart.ticks.map((t, i) => (i % every ? "" : write(Math.min(Math.max(x(i), axis.left), width - wide(t, 12) / 2), base + 18, t, i ? "middle" : "start", "soft"))).join("");
    return { svg, height: base + 26 };
  }

  function intervals(chart, width) {
    const narrow = width < 620, told = chart.rows.map((r) => `${show(chart.unit, r.value)} (${show(chart.unit, r.low)} to ${show(chart.unit, r.high)})`);
    const left = narrow ? 0 : Math.min(Math.max(60, ...chart.rows.map((r) => wide(r.label))) + 14, width * .34);
    const right = narrow ? 0 : Math.max(0, ...told.map((t) => wide(t))) + 14, room = width - left - right, high = narrow ? 62 : 32;
    const ends = chart.rows.flatMap((r) => [r.outerLow, r.outerHigh, r.low, r.high]).filter((v) => v !== null && v !== undefined);
    const low = Math.min(0, ...ends), most = Math.max(0, ...ends), pad = (most - low || 1) * .04;
    const x = (v) => left + 4 + (room - 8) * (v - low + pad) / (most - low + 2 * pad || 1), base = chart.rows.length * high + 8;
    const marks = ticks(low, most, narrow ? 3 : 5);
    let svg = marks.map((m) => write(x(m), base + 16, units[chart.unit][1](m), "middle", "soft")).join("");
    // Where labels stand above their rows, the grid stays out of them.
    const grid = (from, to) => [...new Set([...marks, 0])].map((m) => rule(x(m), from, x(m), to, m ? "grid" : "axis")).join("");
    if (!narrow) svg += grid(0, base);
    chart.rows.forEach((row, i) => {
      const y = i * high + (narrow ? 48 : 18);
      if (narrow) svg += grid(y - 10, y + 12);
      const pale = row.pale ? " pale" : "", style = row.low > 0 ? "s0" : row.high < 0 ? "s5" : "s2";
      svg += narrow ? write(0, y - 32, fit(row.label, width)) + write(0, y - 14, told[i], "start", "soft") : write(left - 12, y + 5, fit(row.label, left - 14), "end") + write(width, y + 5, told[i], "end");
      if (row.outerLow !== undefined && row.outerLow !== null) svg += rule(x(row.outerLow), y, x(row.outerHigh), y, `hair ${style}`) +
        rule(x(row.outerLow), y - 4, x(row.outerLow), y + 4, `hair ${style}`) + rule(x(row.outerHigh), y - 4, x(row.outerHigh), y + 4, `hair ${style}`);
      if (row.low !== null) svg += rule(x(row.low), y, x(row.high), y, `whisker ${style}${pale}`);
      svg += `<circle class="${style}${pale}" cx="${x(row.value).toFixed(1)}" cy="${y}" r="5.5"/>` +
        box(left, y - 12, room, 24, "hit", `${row.label}\n${told[i]}${row.tip ? `\n${row.tip}` : ""}`, 0);
    });
    return { svg, height: base + 24 };
  }

  const kinds = { bars, columns, lines, intervals };

  // What a table or a CSV file holds: headings, and cells as {text, value}.
  function table(chart) {
    if (chart.table) return { headings: chart.table.headings, rows: chart.table.rows.map((r) => r.map((c) => (typeof c === "object" && c !== null ? c : { text: typeof c === "number" ? whole(c) : c ?? "–", value: c }))) };
    const cell = (v, unit = chart.unit) => ({ text: show(unit, v), value: v });
    const first = chart.across || "";
    if (chart.kind === "lines") return { headings: [first, ...chart.series.map((s) => s.name)],
      rows: chart.ticks.map((t, i) => [{ text: t, value: t }, ...chart.series.map((s) => cell(s.values[i]))]) };
    if (chart.kind === "intervals") return { headings: [first, "estimate", "95% from", "to", ...(chart.rows.some((r) => r.outerLow !== undefined) ? ["always valid from", "to"] : [])],
      rows: chart.rows.map((r) => [{ text: r.label, value: r.label }, cell(r.value), cell(r.low), cell(r.high), ...(r.outerLow !== undefined ? [cell(r.outerLow), cell(r.outerHigh)] : [])]) };
    const pale = chart.rows.some((r) => r.pale), told = chart.rows.some((r) => r.told), many = (chart.series || []).length > 1;
    return { headings: [first, ...(many ? chart.series.map((s) => s.name) : [chart.measure || ""]), ...(told ? ["in words"] : []), ...(pale ? ["mature"] : [])],
      rows: chart.rows.map((r) => [{ text: r.label, value: r.label }, ...r.values.map((v) => cell(v)), ...(told ? [{ text: r.told || "", value: r.told || "" }] : []),
        ...(pale ? [{ text: r.pale ? "no" : "yes", value: r.pale ? "no" : "yes" }] : [])]) };
  }

  function csv(chart) {
    // A cell that begins like a formula must not become one in a spreadsheet.
    const quoted = (v) => { const text = v === null || v === undefined ? "" : typeof v === "string" && /^[=+\-@\t]/.test(v) ? `'${v}` : String(v); return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text; };
    const { headings, rows } = table(chart);
    return [headings.map(quoted), ...rows.map((r) => r.map((c) => quoted(c.value)))].map((r) => r.join(",")).join("\r\n") + "\r\n";
  }

  function describe(chart) {
    const { headings, rows } = table(chart), shown = rows.length > 12 ? [rows[0], rows.at(-1)] : rows;
    const said = shown.map((r) => `${r[0].text}: ${r.slice(1).map((c, i) => (headings[i + 1] ? `${headings[i + 1]} ` : "") + c.text).join(", ")}`).join("; ");
    return `${chart.title}. ${rows.length > 12 ? `${rows.length} points, first and last: ` : ""}${said}.`;
  }

  function draw(place, chart) {
    const width = Math.max(place.clientWidth, 240), { svg, height } = kinds[chart.kind](chart, width);
    place.innerHTML = `<svg role="img" aria-label="${escape(describe(chart))}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${svg}</svg>`;
  }

  const drawn = new Map();
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const known = drawn.get(target);
    if (!known) return;
    if (!target.isConnected) { sizes.unobserve(target); drawn.delete(target); } else if (Math.abs(known.width - target.clientWidth) > 1) mount(target, known.chart);
  }));
  function mount(place, chart) {
    draw(place, chart);
    drawn.set(place, { chart, width: place.clientWidth });
    sizes.observe(place);
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  const follow = (event) => {
    const over = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    tip.hidden = !over;
    if (!over) return;
    if (!tip.isConnected) document.body.append(tip);
    tip.textContent = over.dataset.tip;
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - w - 8))}px`;
    tip.style.top = `${event.clientY - h - 12 < 4 ? event.clientY + 16 : event.clientY - h - 12}px`;
  };
  for (const name of ["pointermove", "pointerdown"]) document.addEventListener(name, follow);
  for (const name of ["scroll", "pointerleave"]) document.addEventListener(name, () => { tip.hidden = true; }, true);

  return { mount, table, csv, describe, show, dates, escape, sum, setCurrency: (code) => { currency = code; } };
})();
