// The pages of the dashboard. Every figure is a sum over the embedded rows that the filters leave; shares are divided after summing. What needs
// more than a sum (lift and its intervals) is shown as the mart says it, or not at all.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { show, dates, escape, sum } = charts;
  charts.setCurrency(data.currency);

  const rows = {};
  for (const [name, columns] of Object.entries(data.tables)) {
    const names = Object.keys(columns);
    const values = names.map((n) => (Array.isArray(columns[n]) ? columns[n] : columns[n].at.map((i) => columns[n].words[i])));
    rows[name] = (values[0] || []).map((_, i) => Object.fromEntries(names.map((n, c) => [n, values[c][i]])));
  }

  const DAY = 86400000;
  const add = (iso, days) => new Date(Date.parse(iso) + days * DAY).toISOString().slice(0, 10);
  const plain = (name) => String(name).replace(/_/g, " ");
  const monday = (iso) => add(iso, -((new Date(iso).getUTCDay() + 6) % 7));
  const weekIsOver = (week) => add(week, 7) <= data.asOf;
  const unique = (values) => [...new Set(values)].filter((v) => v !== null && v !== undefined).sort();
  const share = (part, all) => (all ? 100 * part / all : null);
  const total = (list, column) => sum(list.map((r) => r[column]));
  function grouped(list, key) {
    const groups = new Map();
    for (const row of list) {
      const k = key(row);
      if (!groups.has(k)) groups.set(k, []);
      groups.get(k).push(row);
    }
    return groups;
  }
  const CHANNELS = unique(["cube", "steps", "upcoming", "deliverability"].flatMap((t) => rows[t].map((r) => r.channel))).filter((c) => c !== "(none)" && c !== "task");
  const CHANNEL_STYLES = { email: "s0", sms: "s1", push: "s4", task: "s2", "(none)": "s3" };
  const styled = (channel, i) => CHANNEL_STYLES[channel] || `s${5 + i % 3}`;
  const PROGRAMS = unique(rows.programs.map((r) => r.program));
  const BRANDS = unique(["journeys", "cube", "tier_sizes", "orders", "upcoming"].flatMap((t) => rows[t].map((r) => r.brand))).filter((b) => b !== "(all)");
  const IN_FORCE = new Map(rows.programs.filter((r) => r.is_in_force).map((r) => [r.program, r]));
  const usual = [...grouped([...IN_FORCE.values()], (r) => r.attribution_hours).entries()].sort((a, b) => b[1].length - a[1].length)[0];

  const defaults = { page: "overview", program: "", version: "", brand: "", channel: "", from: "", to: "", hours: usual ? usual[0] : 72, lapsed: 90, audience: "" };
  const state = { ...defaults };
  function readHash() {
    const [page, query] = location.hash.slice(1).split("?");
    const asked = new URLSearchParams(query || "");
    Object.assign(state, defaults, Object.fromEntries([...asked].filter(([k]) => k in defaults && k !== "page")));
    state.page = pages[page] ? page : "overview";
    state.hours = snapped(Number(state.hours));
    state.lapsed = Number(state.lapsed) || defaults.lapsed;
    if (!PROGRAMS.includes(state.program)) state.program = "";
  }
  function hash(changes = {}) {
    const wanted = { ...state, ...changes }, query = new URLSearchParams();
    for (const [k, v] of Object.entries(wanted)) if (k !== "page" && String(v) !== String(defaults[k])) query.set(k, v);
    return `#${wanted.page}${query.size ? `?${query}` : ""}`;
  }
  function snapped(hours) {
    const whole = Math.min(Math.max(Math.round(hours) || defaults.hours, 1), data.longestHours);
    return whole <= data.exactHours ? whole : Math.round(whole / 24) * 24;
  }

  // Rows that the filters leave. `date` names the column that the dates of the filter bar apply to; a row of a joined date counts whole.
  function kept(list, { date, except = [] } = {}) {
    const first = state.from, last = state.to;
    return list.filter((r) => ["program", "brand", "channel"].every((f) => !state[f] || except.includes(f) || !(f in r) || r[f] === state[f]) &&
      (!state.version || !state.program || except.includes("version") || !("version" in r) || String(r.version) === state.version) &&
      (!date || ((!first || r[date] >= first) && (!last || r[date] <= last))));
  }
  const FILTERS = { program: () => state.program && plain(state.program), version: () => state.program && state.version && `version ${state.version}`, brand: () => state.brand, channel: () => state.channel,
    dates: () => (state.from || state.to) && `${state.from ? dates.long(state.from) : "the beginning"} to ${state.to ? dates.long(state.to) : "the end"}` };
  function notApplied(applied) {
    const left = Object.keys(FILTERS).filter((f) => FILTERS[f]() && !applied.includes(f) && !(f === "version" && applied.includes("program")));
    return left.length ? ` <span class="not">Not filtered by ${left.join(", ")}.</span>` : "";
  }

  let figures = [];
  // A card with a chart: its title, what the figures are of, the picture or why there is none, table and CSV.
  function figure({ title, of, filters = [], chart, empty, full = false, before = "" }) {
    const head = `<h3>${escape(title)}</h3><p>${escape(of)}${notApplied(filters)}</p>${before}`;
    const style = `card${full ? " full" : ""}`;
    const nothing = empty || (!chart ? "There is nothing to show." : chart.kind === "lines" ? (chart.series.some((s) => s.values.some((v) => v !== null)) ? "" : "There is nothing to show yet.")
      : chart.rows.length ? "" : "There is nothing to show with these filters.");
    if (nothing) return `<section class="${style}">${head}<p class="empty">${escape(nothing)}</p></section>`;
    const i = figures.push({ ...chart, title, denominator: of }) - 1;
    return `<figure class="${style}">${head}<div class="chart" data-figure="${i}"></div>${foot(i)}</figure>`;
  }
  const foot = (i) => `<div class="foot"><details data-table="${i}"><summary>Show as a table</summary></details><button type="button" data-csv="${i}">CSV<span class="unseen"> of ${escape(figures[i].title)}</span></button></div>`;
  function tableHtml(chart) {
    const { headings, rows: body } = charts.table(chart);
    const right = headings.map((_, c) => body.length > 0 && body.every((r) => typeof r[c].value === "number" || r[c].value === null));
    return `<div class="scroll" tabindex="0" role="region" aria-label="${escape(chart.title)}, table"><table><thead><tr>${headings.map((h, c) => `<th scope="col"${right[c] ? ' class="number"' : ""}>${escape(h) || '<span class="unseen">name</span>'}</th>`).join("")}</tr></thead><tbody>` +
      body.map((r) => `<tr>${r.map((c, i) => (i ? `<td${right[i] ? ' class="number"' : ""}>${c.html || escape(c.text)}</td>` : `<th scope="row">${c.html || escape(c.text)}</th>`)).join("")}</tr>`).join("") + "</tbody></table></div>";
  }
  // A card that is a table from the start.
  function listing({ title, of, filters = [], headings, body, empty }) {
    const head = `<h3>${escape(title)}</h3><p>${escape(of)}${notApplied(filters)}</p>`;
    if (!body.length) return `<section class="card full">${head}<p class="empty">${escape(empty || "There is nothing to show with these filters.")}</p></section>`;
    const i = figures.push({ title, table: { headings, rows: body } }) - 1;
    return `<section class="card full plain">${head}${tableHtml(figures[i])}<div class="foot"><span></span><button type="button" data-csv="${i}">CSV<span class="unseen"> of ${escape(title)}</span></button></div></section>`;
  }
  const cell = (unit, value) => ({ text: show(unit, value), value: value === undefined ? null : value });
  const tile = (name, value, of) => `<div class="tile"><dt>${escape(name)}</dt><dd class="value">${escape(value)}</dd><dd>${escape(of)}</dd></div>`;
  const badge = (text, style = "") => `<span class="badge ${style}">${escape(text)}</span>`;
  const link = (text, changes) => `<a class="link" href="${escape(hash(changes))}">${escape(text)}</a>`;

  // Attribution: orders whose latest message was less than `hours` before.
  const inWindow = (hours = state.hours, options) => kept(rows.cube, { date: "ordered_on", ...options }).filter((r) => r.hours < hours);
  const ordersSince = () => kept(rows.orders, { date: "ordered_on" });
  const windowed = () => `${show("count", state.hours)} ${state.hours === 1 ? "hour" : "hours"}`;
  const joined = { day: "", week: " Dates are joined to weeks.", month: " Dates are joined to months." }[data.datesJoined];

  // Lift as the mart says it: only for the cuts that it has.
  function liftRow() {
    const scope = state.program ? (state.version ? "version" : "program") : "all";
    return rows.lift.find((r) => r.scope === scope && (!state.program || r.program === state.program) && (scope !== "version" || String(r.version) === state.version));
  }
  const LIFT_FILTERS = ["program", "version"];
  function whyNoLift(row) {
    const started = kept(rows.journeys, { except: ["channel"] });
    if (!total(started, "started")) return "Nobody has entered yet: people enter when the day's run applies its plan, and appear here the day after.";
    const heldOut = total(started.filter((r) => r.arm === "holdout"), "started");
    if (!heldOut) return "Nobody has been held out, so there is nothing to compare with and lift cannot be known. Set holdout_percent in the program to measure it.";
    const close = row && row.next_window_closes_on;
    if (!row || !row.treatment_enrolled || !row.holdout_enrolled) return `No window has closed yet${close ? `: the next closes on ${dates.long(close)}` : ""}. Until then who was held out may still come back, so no difference is shown.`;
    return "";
  }
  const liftOf = (row) => `Of first entries whose window has closed: ${show("count", row.treatment_enrolled)} treated, ${show("count", row.holdout_enrolled)} held out.` +
    (row.treatment_immature + row.holdout_immature ? ` ${show("count", row.treatment_immature + row.holdout_immature)} more are still open and in no figure.` : "") +
    (row.treatment_without_holdout ? ` ${show("count", row.treatment_without_holdout)} treated where nobody was held out are left out.` : "");
  const chance = (low, high) => (low > 0 ? "The interval lies above zero." : high < 0 ? "The interval lies below zero: messages did harm." : "The interval holds zero: it may be chance.");

  function headline() {
    const row = liftRow(), why = whyNoLift(row);
    const cube = inWindow(), revenue = total(cube, "revenue"), all = total(ordersSince(), "revenue");
    const immature = row && !row.is_mature && !why ? ` ${badge(`immature: ${show("count", row.treatment_immature + row.holdout_immature)} windows still open`)}` : "";
    const left = why ? `<p class="big">–</p><p class="empty">${escape(why)}</p>`
      : `<p class="big" id="incremental">${escape(show("gain", row.incremental_revenue))}</p><p class="told">95% interval ${escape(show("gain", row.incremental_revenue_low))} to ${escape(show("gain", row.incremental_revenue_high))}. ${chance(row.incremental_revenue_low, row.incremental_revenue_high)}</p><p>${escape(liftOf(row))}${notApplied(LIFT_FILTERS)}</p>`;
    const nothing = !rows.orders.length ? "No message has gone out before an order yet: attribution begins with the first message sent." : !rows.cube.length ? "No order has followed a message within the longest window yet." : "";
    const right = nothing ? `<p class="big" id="attributed">${escape(show("money", 0))}</p><p class="empty">${escape(nothing)}</p>`
      : `<p class="big" id="attributed">${escape(show("money", revenue))}</p><p class="told">${escape(show("count", total(cube, "orders")))} orders, ${escape(show("percent", share(revenue, all)))} of the revenue of all orders since the first message. ${escape(show("count", total(cube, "coupon_orders")))} of them used the coupon of that message.</p><p>Orders whose latest message was less than ${escape(windowed())} before, including those of people who would have come anyway.${escape(joined)}${state.channel || state.program ? " All orders: of every program and channel." : ""}${notApplied(["program", "brand", "channel", "dates"])}</p>`;
    return `<div class="grid"><section class="card lead"><h3>Incremental revenue: what the messages caused${immature}</h3>${left}</section><section class="card beside"><h3>Attributed revenue: what followed a message</h3>${right}</section></div>`;
  }

  function attributedOverTime() {
    const cube = inWindow(), days = unique(cube.map((r) => r.ordered_on));
    const span = days.length ? (Date.parse(days.at(-1)) - Date.parse(days[0])) / DAY + 1 : 0;
    const grain = data.datesJoined !== "day" ? data.datesJoined : span > 62 ? "week" : "day";
    const bucket = (iso) => (grain === "week" ? monday(iso) : iso);
    const groups = grouped(cube, (r) => bucket(r.ordered_on)), channels = unique(cube.map((r) => r.channel)), buckets = [];
    if (days.length && grain !== "month") for (let d = bucket(days[0]); d <= bucket(days.at(-1)); d = add(d, grain === "week" ? 7 : 1)) buckets.push(d);
    else buckets.push(...unique([...groups.keys()]));
    return figure({ title: "Attributed revenue over time", of: `Net revenue of orders less than ${windowed()} after their latest message, by ${grain} of order and channel of that message.`, filters: ["program", "brand", "channel", "dates"], empty: cube.length ? "" : "No order followed a message within this window.",
      chart: { kind: "columns", unit: "money", across: grain, measure: "attributed revenue", series: channels.map((c, i) => ({ name: plain(c), style: styled(c, i) })),
        rows: buckets.map((b) => ({ label: grain === "month" ? dates.month(b) : dates.long(b), tick: grain === "month" ? dates.month(b) : dates.short(b), pale: grain === "week" && !weekIsOver(b), values: channels.map((c) => total((groups.get(b) || []).filter((r) => r.channel === c), "revenue")) })), paleMeans: "immature: the week is not over" } });
  }
  function attributedByWindow() {
    const cube = kept(rows.cube, { date: "ordered_on" }), per = new Array(data.longestHours + 1).fill(0);
    for (const r of cube) per[Math.min(r.hours + 1, data.longestHours)] += r.revenue;
    const step = 6, ticks = [], values = [];
    let running = 0;
    per.forEach((v, h) => { running += v; if (h % step === 0) { ticks.push(`${h} h`); values.push(Math.round(running * 100) / 100); } });
    return figure({ title: "What the attribution window does", of: "Attributed revenue by length of the window, in hours since the latest message. The line is the window chosen.", filters: ["program", "brand", "channel", "dates"], empty: cube.length ? "" : "No order has followed a message yet.",
      chart: { kind: "lines", unit: "money", across: "window", strides: [4, 8, 12, 20, 28, 40], ticks, series: [{ name: "attributed revenue", style: "s6", values }], marker: { at: state.hours / step, name: `${state.hours} h` } } });
  }
  function incrementalBy(list, name, { title, of, filters, full }) {
    const usable = list.filter((r) => r.incremental_revenue !== null && r.treatment_enrolled && r.holdout_enrolled);
    return figure({ title, of, filters, full, empty: usable.length ? "" : whyNoLift(list[0]) || "There is nothing to compare yet.",
      chart: { kind: "intervals", unit: "gain", across: "", rows: usable.map((r) => ({ label: name(r), value: r.incremental_revenue, low: r.incremental_revenue_low, high: r.incremental_revenue_high, pale: r.scope === "cohort_month" && !r.is_mature,
        tip: `attributed in the same journeys: ${show("money", r.attributed_revenue)}` })),
        table: { headings: ["", "incremental revenue", "95% from", "to", "attributed revenue, same journeys", "treated", "held out", "still open", "messages, offers and other costs", "incremental profit"],
          rows: usable.map((r) => [name(r), cell("gain", r.incremental_revenue), cell("gain", r.incremental_revenue_low), cell("gain", r.incremental_revenue_high), cell("money", r.attributed_revenue), r.treatment_enrolled, r.holdout_enrolled, r.treatment_immature + r.holdout_immature,
            cell("money", sum([r.message_cost, r.fixed_cost, r.discounts])), cell("gain", r.incremental_profit)]) } } });
  }

  function overview() {
    const journeys = kept(rows.journeys, { date: "cohort_week" }), treated = journeys.filter((r) => r.arm === "treatment");
    const programs = PROGRAMS.filter((p) => !state.program || p === state.program);
    const thresholds = unique(rows.monthly.map((r) => r.lapse_threshold_days)).sort((a, b) => a - b);
    const monthly = rows.monthly.filter((r) => r.lapse_threshold_days === state.lapsed && r.lapsed_customers && (!state.from || r.month >= state.from.slice(0, 7)) && (!state.to || r.month <= state.to)).slice(-24);
    const row = liftRow();
    return `<h1 tabindex="-1">What was really won back</h1><p>Attributed revenue counts every order that followed a message, also of those who would have come anyway. Incremental revenue compares with people who were deliberately left alone: it is what the messages caused.</p>` +
      headline() +
      `<dl class="tiles">${tile("Entered", show("count", total(journeys, "started")), `journeys begun${state.from || state.to ? " in weeks of these dates" : ""}; ${show("count", total(journeys.filter((r) => r.arm === "holdout"), "started"))} of them held out`)}` +
      tile("Bought", show("percent", share(total(treated, "purchased"), total(treated, "started"))), "of treated journeys, within the program's window; still open ones count as not yet") +
      tile("Customers won back by messages", row && row.incremental_customers !== null && !whyNoLift(row) ? show("count", Math.round(row.incremental_customers)) : "–", row && row.incremental_customers !== null && !whyNoLift(row) ? `95% interval ${show("count", Math.round(row.incremental_customers_low))} to ${show("count", Math.round(row.incremental_customers_high))}; all dates` : "needs a holdout and a closed window") +
      tile("Messages sent", show("count", total(treated, "messages")), `accepted by providers, at a cost of ${show("money", total(treated, "message_cost"))}`) + "</dl>" +
      `<div class="grid">` +
      incrementalBy(rows.lift.filter((r) => r.scope === "program" && programs.includes(r.program)), (r) => plain(r.program), { title: "Incremental revenue by program", of: "Treated against held out, first entries whose window has closed; 95% intervals. All dates.", filters: ["program"] }) +
      attributedByWindow() + attributedOverTime().replace('class="card"', 'class="card full"') +
      programTable(programs) +
      figure({ title: "Win-back of the whole base, by month", full: true, of: `Of the customers whose last order was at least ${state.lapsed} days old when the month opened, the share who bought within it, with or without a message.`, filters: ["dates"],
        before: `<div class="chosen"><label class="inline">Lapsed for at least<select id="lapsed" data-state="lapsed">${thresholds.map((t) => `<option value="${t}"${t === state.lapsed ? " selected" : ""}>${t} days</option>`).join("")}</select></label></div>`,
        empty: monthly.length ? "" : "No month in these dates.",
        chart: { kind: "columns", unit: "percent", across: "month", paleMeans: "immature: the month is not over", series: [{ style: "s0" }], rows: monthly.map((r) => ({ label: dates.month(r.month), values: [share(r.won_back_customers, r.lapsed_customers)], pale: !r.is_mature, tip: `${show("count", r.won_back_customers)} of ${show("count", r.lapsed_customers)}` })),
          table: { headings: ["month", "lapsed when it opened", "won back", "win-back percentage", "mature"], rows: monthly.map((r) => [{ text: dates.month(r.month), value: r.month }, r.lapsed_customers, r.won_back_customers, cell("percent", share(r.won_back_customers, r.lapsed_customers)), r.is_mature ? "yes" : "no"]) } } }) + "</div>";
  }

  function programTable(programs) {
    const journeys = kept(rows.journeys, { date: "cohort_week", except: ["program"] });
    return listing({ title: "Programs side by side", of: `Bought: of journeys started, within the program's window. Lift in percentage points, first entries whose window has closed. Attributed and incremental revenue: the former within ${windowed()}, of all entries.`, filters: ["program", "brand", "dates"],
      headings: ["program", "entered", "held out", "bought, treated", "bought, held out", "lift", "95% from", "to", "attributed", "incremental", "holdout"],
      body: programs.map((p) => {
        const mine = journeys.filter((r) => r.program === p), arm = (a) => mine.filter((r) => r.arm === a), lift = rows.lift.find((r) => r.scope === "program" && r.program === p);
        const bought = (a) => cell("percent", share(total(arm(a), "purchased"), total(arm(a), "started"))), usable = lift && lift.treatment_enrolled && lift.holdout_enrolled ? lift : {};
        const attributed = inWindow(state.hours, { except: ["program"] }).filter((r) => r.program === p);
        return [{ text: plain(p), value: p, html: link(plain(p), { page: "programs", program: p, version: "" }) }, total(mine, "started"), total(arm("holdout"), "started"), bought("treatment"), bought("holdout"), cell("points", usable.lift_points), cell("points", usable.lift_low), cell("points", usable.lift_high),
          cell("money", total(attributed, "revenue")), cell("gain", usable.incremental_revenue), ratio(usable)];
      }), empty: "There is no program yet: add one under programs/." });
  }
  function ratio(row) {
    if (!row || row.sample_ratio_p_value === undefined || row.sample_ratio_p_value === null) return { text: "–", value: null };
    return row.sample_ratio_ok ? { text: "yes", value: "yes", html: badge("as dealt", "good") } : { text: "no", value: "no", html: badge("not as dealt", "bad") };
  }

  function programs() {
    if (!state.program) return `<h1 tabindex="-1">Programs</h1><p>Choose one for its funnel, steps, journeys, returns and lift.</p><div class="grid">${programTable(PROGRAMS)}</div>`;
    const versions = rows.programs.filter((r) => r.program === state.program), facts = versions.find((r) => String(r.version) === state.version) || IN_FORCE.get(state.program) || versions.at(-1);
    const journeys = kept(rows.journeys, { date: "cohort_week" }), arm = (a) => journeys.filter((r) => r.arm === a);
    const row = liftRow(), why = whyNoLift(row), started = total(journeys, "started");
    const nobody = started ? "" : rows.journeys.some((r) => r.program === state.program) ? "Nobody entered with these filters." : "Nobody has entered this program yet: who enters in a run appears the day after.";
    const arms = ["treatment", "holdout"].filter((a) => total(arm(a), "started")), armName = { treatment: "treated", holdout: "held out" };
    const outcomes = [["bought", "purchased"], ["left early", "exited"], ["completed it", "completed"], ["still in it", "still_open"]];
    const steps = kept(rows.steps).filter((r) => r.arm === "treatment");
    const funnel = [["queued for sending", (r) => r.sent + r.not_sent + r.on_its_way], ["sent", (r) => r.sent], ["delivered", (r) => r.delivered], ["read by a person", (r) => r.read], ["clicked by a person", (r) => r.clicked], ["replied", (r) => r.replied]].map(([n, f]) => [n, sum(steps.map(f))]);
    const open = journeys.some((r) => !r.is_mature);
    return `<h1 tabindex="-1">${escape(plain(state.program))}</h1><p>${escape(facts.description || "")}</p>` + headline() +
      `<div class="grid"><section class="card"><h3>What it is</h3><dl class="facts"><dt>Status</dt><dd>${escape(facts.status)}, version ${facts.version}, ${escape(plain(facts.cadence || ""))}</dd><dt>Audience</dt><dd>${escape(plain(facts.audience))}</dd><dt>Steps</dt><dd>${facts.step_count}</dd><dt>Offer</dt><dd>${facts.offer_code ? `${escape(facts.offer_code)}${facts.offer_percent ? `, ${facts.offer_percent}%` : ""}` : facts.offer_percent ? `${facts.offer_percent}%` : "none"}</dd><dt>Held out</dt><dd>${facts.holdout_percent}%</dd><dt>Measured over</dt><dd>${facts.window_days} days from entry; its own attribution window is ${facts.attribution_hours} hours</dd><dt>Versions</dt><dd>${versions.map((v) => `${v.version} (from ${dates.long(v.effective_on)})`).join(", ")}</dd></dl></section>` +
      figure({ title: "Where journeys stand", of: "Shares of journeys started, treated beside held out. Bought is within the window from entry; it goes across the other three, which add up to all.", filters: ["program", "brand", "dates"], empty: nobody,
        chart: { kind: "bars", unit: "percent", most: 100, paleMeans: "immature: windows are still open", rows: outcomes.flatMap(([name, column]) => arms.map((a) => ({ label: `${armName[a]}: ${name}`, values: [share(total(arm(a), column), total(arm(a), "started"))], style: a === "treatment" ? "s0" : "s1", pale: open && column === "purchased",
          tip: `${show("count", total(arm(a), column))} of ${show("count", total(arm(a), "started"))}` }))),
          table: { headings: ["", ...arms.flatMap((a) => [`${armName[a]}, journeys`, `${armName[a]}, % of started`])], rows: [["started", "started"], ...outcomes].map(([name, column]) => [name, ...arms.flatMap((a) => [total(arm(a), column), cell("percent", share(total(arm(a), column), total(arm(a), "started")))])]) } } }) +
      figure({ title: "What became of the messages", of: `Messages of all steps, one per journey and step. Shares are of sent; reads and clicks by machines are left out.${funnel[1][1] && !funnel[2][1] ? " No provider has reported anything back yet." : ""}`, filters: ["program", "brand", "channel"], empty: funnel[0][1] ? "" : nobody || "No message has been queued yet.",
        chart: { kind: "bars", unit: "count", rows: funnel.map(([name, n]) => ({ label: name, values: [n], told: name === "queued for sending" ? show("count", n) : `${show("count", n)} (${show("percent", share(n, funnel[1][1]))})` })) } }) +
      returns(nobody) + "</div>" + stepsPart(steps, nobody) + flowPart(nobody) + liftPart(row, why) + `<h2>Attribution</h2><div class="grid">${attributedByWindow()}${attributedOverTime()}</div>`;
  }

  function returns(nobody) {
    const cut = state.brand || state.from || state.to;
    const list = kept(rows.curves, { date: cut ? "cohort_month" : undefined, except: ["channel"] }).filter((r) => r.scope === (cut ? "cohort" : "program"));
    const series = ["treatment", "holdout"].map((a) => {
      const mine = list.filter((r) => r.arm === a), days = Math.max(0, ...mine.map((r) => r.at_risk.length)), values = [];
      let still = 1;
      for (let d = 0; d < days; d++) {
        const risk = sum(mine.map((r) => r.at_risk[d])), back = sum(mine.map((r) => r.returned[d]));
        if (!risk) break;
        still *= 1 - back / risk;
        values.push(100 * (1 - still));
      }
      return { name: a === "treatment" ? "treated" : "held out", style: a === "treatment" ? "s0" : "s1", dashed: a === "holdout", values, entered: sum(mine.map((r) => r.at_risk[0])) };
    }).filter((s) => s.values.length);
    const days = Math.max(0, ...series.map((s) => s.values.length));
    return figure({ title: "Back by day", of: `Share of first entries with a purchase by each day after entry (Kaplan–Meier: who is still open counts while watched).${series.map((s) => ` ${s.name}: ${show("count", s.entered)}.`).join("")}${series.length === 1 ? " No holdout, so no line to compare with." : ""}`, filters: ["program", "brand", "dates"], full: false,
      empty: nobody || (days ? "" : "No day has passed since the first entry."), before: state.from || state.to ? '<p class="quiet">Dates: by month of entry.</p>' : "",
      chart: { kind: "lines", unit: "percent", across: "day", steps: true, strides: [1, 2, 7, 14, 30], ticks: Array.from({ length: days }, (_, d) => `day ${d}`), series: series.map((s) => ({ ...s, values: Array.from({ length: days }, (_, d) => s.values[d] ?? null) })) } });
  }

  function stepsPart(steps, nobody) {
    const groups = [...grouped(steps, (r) => `${r.version}|${r.step_no}|${r.content}|${r.channel}`).values()].sort((a, b) => b[0].version - a[0].version || a[0].step_no - b[0].step_no || (a[0].channel > b[0].channel ? 1 : -1));
    return `<h2>Steps</h2><div class="grid">` + listing({ title: "Step by step", of: "Treated journeys. Delivered and bounced: of sent. Read, clicked, replied, unsubscribed: people, of those sent that did not bounce. Times count every read and click.", filters: ["program", "version", "brand", "channel"], empty: nobody || "No step has been reached yet.",
      headings: ["step", "version", "channel", "waiting", "on its way", "sent", "not sent", "skipped", "delivered", "read", "clicked", "replied", "bounced", "unsubscribed", "times read", "times clicked"],
      body: groups.map((g) => {
        const n = (c) => total(g, c), of = (part, all) => ({ text: all ? show("percent", share(part, all)) : "–", value: all ? Number(share(part, all).toFixed(3)) : null });
        return [{ text: `${g[0].step_no}. ${plain(g[0].content)} (day ${g[0].day})`, value: `${g[0].step_no} ${g[0].content}` }, g[0].version, g[0].channel === "(none)" ? "none yet" : plain(g[0].channel), n("waiting"), n("on_its_way"), n("sent"), n("not_sent"), n("skipped"), of(n("delivered"), n("sent")), of(n("read"), n("reached")), of(n("clicked"), n("reached")),
          of(n("replied"), n("reached")), of(n("bounced"), n("sent")), of(n("unsubscribed"), n("reached")), n("read_times"), n("click_times")];
      }) }) + "</div>";
  }

  const OUTCOMES = { progressed: ["went on", "s0"], completed: ["completed", "s6"], waiting: ["waiting", "s3"], purchase: ["bought", "s4"], engagement: ["engaged", "s7"], lost_consent: ["lost consent", "s5"], program_stopped: ["program stopped", "s2"], superseded: ["superseded", "s1"] };
  function flowPart(nobody) {
    const parts = ["treatment", "holdout"].map((a) => {
      const list = kept(rows.flow, { except: ["channel"] }).filter((r) => r.arm === a), outcomes = Object.keys(OUTCOMES).filter((o) => list.some((r) => r.outcome === o));
      const several = unique(list.map((r) => r.version)).length > 1;
      const groups = [...grouped(list, (r) => `${r.version}|${r.step_no}`).values()].sort((x, y) => y[0].version - x[0].version || x[0].step_no - y[0].step_no);
      return figure({ title: a === "treatment" ? "How treated journeys flow" : "How held-out journeys flow", of: a === "treatment" ? "Journeys that reached each step, and what they did there: who went on reached the next." : "The same steps without a message, for comparison.", filters: ["program", "version", "brand"], full: false,
        empty: list.length ? "" : a === "holdout" && !nobody ? "Nobody has been held out." : nobody || "No step has been reached yet.",
        chart: { kind: "bars", unit: "count", across: "step", series: outcomes.map((o) => ({ name: OUTCOMES[o][0], style: OUTCOMES[o][1] })),
          rows: groups.map((g) => ({ label: `${several ? `v${g[0].version} ` : ""}${g[0].content === "(end)" ? "end" : `${g[0].step_no}. ${plain(g[0].content)}`}`, values: outcomes.map((o) => total(g.filter((r) => r.outcome === o), "journeys")), tip: `${show("count", total(g, "journeys"))} reached it` })) } });
    });
    return `<h2>Journeys</h2><div class="grid">${parts.join("")}</div>`;
  }

  function liftPart(row, why) {
    const head = "<h2>Lift</h2>";
    if (why) return `${head}<section class="card"><p class="empty">${escape(why)}</p></section>`;
    const months = rows.lift.filter((r) => r.scope === "cohort_month" && r.program === state.program && r.lift_points !== null && (!state.from || r.cohort_month >= state.from.slice(0, 7)) && (!state.to || r.cohort_month <= state.to));
    const point = (r, label) => ({ label, value: r.lift_points, low: r.lift_low, high: r.lift_high, outerLow: r.lift_always_low, outerHigh: r.lift_always_high, pale: r.scope === "cohort_month" && !r.is_mature, tip: `${show("percent", r.treatment_percentage)} of ${show("count", r.treatment_enrolled)} treated\n${show("percent", r.holdout_percentage)} of ${show("count", r.holdout_enrolled)} held out${r.is_mature ? "" : "\nimmature"}` });
    const numbers = [["Customers who bought", "percent", "treatment_percentage", "holdout_percentage", "points", "lift_points", "lift_low", "lift_high"], ["Orders per enrolled customer", "number", "treatment_orders_per_enrolled", "holdout_orders_per_enrolled", "number", "orders_difference", "orders_difference_low", "orders_difference_high"], ["Revenue per enrolled customer", "money", "treatment_revenue_per_enrolled", "holdout_revenue_per_enrolled", "gain", "revenue_difference", "revenue_difference_low", "revenue_difference_high"]];
    return head + `<div class="grid">` +
      figure({ title: "Lift in win-back percentage", full: true, of: `Percentage of treated who bought within the window, minus that of held out. ${liftOf(row)} Thick: 95% interval; thin: always-valid, honest when looked at every day.`, filters: [...LIFT_FILTERS, "dates"],
        chart: { kind: "intervals", unit: "points", across: "entered", rows: [point(row, "All months"), ...months.map((r) => point(r, `${dates.month(r.cohort_month)}${r.is_mature ? "" : " (immature)"}`))] } }) +
      incrementalBy(months.filter((r) => r.holdout_enrolled), (r) => `${dates.month(r.cohort_month)}${r.is_mature ? "" : " (immature)"}`, { title: "Incremental revenue by month of entry", of: "Revenue per enrolled customer, treated minus held out, times the treated; 95% intervals. Months are uncertain alone: read the total.", filters: ["program", "dates"], full: true }) +
      listing({ title: "Treated against held out", of: `${liftOf(row)} Intention to treat: who was never reached counts as treated.`, filters: LIFT_FILTERS, headings: ["", "treated", "held out", "difference", "95% from", "to"], body: numbers.map(([name, unit, t, h, gain, d, low, high]) => [name, cell(unit, row[t]), cell(unit, row[h]), cell(gain, row[d]), cell(gain, row[low]), cell(gain, row[high])]) }) + "</div>" +
      `<dl class="tiles">${tile("Relative lift", show("percent", row.relative_lift_percentage), `of the holdout's percentage; ${show("percent", row.relative_lift_low)} to ${show("percent", row.relative_lift_high)}`)}${tile("Cost per customer won back", show("money", row.cost_per_incremental_customer), "messages, offers and fixed costs over incremental customers")}${tile("Profit per customer won back", show("money", row.profit_per_incremental_customer), "after costs, over incremental customers")}${tile("Held out", show("percent", row.sample_ratio_actual_percent), `of those compared; ${show("percent", row.sample_ratio_expected_percent)} were to be. ${row.sample_ratio_ok === false ? "This is no accident: find out why before trusting the lift." : "As dealt."}`)}</dl>`;
  }

  const TIERS = [["active", "s0"], ["at_risk", "s1"], ["inactive", "s2"]];
  function tiers() {
    const sizes = kept(rows.tier_sizes, { date: "date_day" }), days = unique(sizes.map((r) => r.date_day)), moves = kept(rows.tier_moves, { date: "date_day" });
    const byDay = grouped(sizes, (r) => r.date_day), names = [...TIERS.filter(([t]) => sizes.some((r) => r.tier === t)), ...unique(sizes.map((r) => r.tier)).filter((t) => !TIERS.some(([n]) => n === t)).map((t, i) => [t, `s${4 + i % 4}`])];
    const size = (d, t) => total((byDay.get(d) || []).filter((r) => r.tier === t), "customers");
    const order = Object.fromEntries(TIERS.map(([t], i) => [t, i]));
    const pairs = [...grouped(moves, (r) => `${r.from_tier}|${r.to_tier}`).values()].map((g) => [g[0].from_tier, g[0].to_tier, total(g, "customers")]).sort((a, b) => b[2] - a[2]);
    const weeks = grouped(moves.filter((r) => r.from_tier in order && r.to_tier in order), (r) => monday(r.date_day));
    for (const week of [...weeks.keys()]) if (!weekIsOver(week) || week < days[0]) weeks.delete(week);
    const span = days.length ? `${dates.long(days[0])} to ${dates.long(days.at(-1))}` : "";
    const last = days.at(-1);
    return `<h1 tabindex="-1">Tiers over time</h1><p>Every customer is in one tier, by days since the last order, open, click, visit or use by a person.</p>` +
      (last ? `<dl class="tiles">${names.map(([t]) => tile(plain(t), show("count", size(last, t)), `customers on ${dates.long(last)}, ${show("percent", share(size(last, t), total(byDay.get(last), "customers")))} of all; ${show("points", share(size(last, t), total(byDay.get(last), "customers")) - share(size(days[0], t), total(byDay.get(days[0]), "customers")))} since ${dates.long(days[0])}`)).join("")}</dl>` : "") +
      `<div class="grid">` +
      figure({ title: "Customers per tier", full: true, of: `All customers known on each day. ${span}`, filters: ["brand", "dates"], empty: days.length ? "" : "No day in these dates.",
        chart: { kind: "lines", unit: "count", across: "date", strides: [1, 7, 14, 28, 56], ticks: days.map(dates.long), series: names.map(([t, style]) => ({ name: plain(t), style, values: days.map((d) => size(d, t)) })) } }) +
      figure({ title: "Who moved", of: `Moves between tiers, customers counted once per move. ${span}`, filters: ["brand", "dates"], empty: pairs.length ? "" : "Nobody moved in these dates.",
        chart: { kind: "bars", unit: "count", across: "move", measure: "moves", rows: pairs.map(([a, b, n]) => ({ label: a === "(new)" ? `new: ${plain(b)}` : `${plain(a)} → ${plain(b)}`, values: [n], style: order[b] < order[a] ? "s0" : order[b] > order[a] ? "s1" : "s2" })) } }) +
      figure({ title: "Up and down, by week", of: "Moves towards active beside moves away from it, by whole week of the move.", filters: ["brand", "dates"], empty: weeks.size ? "" : "No whole week in these dates.",
        chart: { kind: "lines", unit: "count", across: "week of", ticks: [...weeks.keys()].sort().map(dates.long), series: [["towards active", "s0", (r) => order[r.to_tier] < order[r.from_tier]], ["away from active", "s1", (r) => order[r.to_tier] > order[r.from_tier]]].map(([name, style, f]) => ({ name, style, dashed: style === "s1", values: [...weeks.keys()].sort().map((w) => total(weeks.get(w).filter(f), "customers")) })) } }) + "</div>";
  }

  function audiences() {
    const names = unique(rows.audiences.map((r) => r.audience)).sort((a, b) => (a[0] === "(" ? -1 : b[0] === "(" ? 1 : a > b ? 1 : -1)), chosen = names.includes(state.audience) ? state.audience : names[0];
    const mine = rows.audiences.filter((r) => r.audience === chosen), section = (s) => mine.filter((r) => r.section === s), all = section("total")[0] || {};
    const sizes = rows.audiences.filter((r) => r.section === "total" && r.audience[0] !== "(");
    const chart = (title, s, unit, column, of, extra = {}) => figure({ title, of, filters: [], empty: section(s).length ? "" : "There is nothing to show for this audience.",
      chart: { kind: "bars", unit, across: plain(s), measure: plain(column), rows: section(s).map((r) => ({ label: plain(r.value), values: [r[column]], told: unit === "count" ? `${show("count", r[column])} (${show("percent", r.customers_percentage)})` : undefined, tip: unit === "money" ? `${show("count", r.customers)} customers, ${show("count", r.orders_past_year)} orders` : "", ...extra })) } });
    const reader = chosen && chosen[0] === "(" ? "all customers" : plain(chosen || "");
    return `<h1 tabindex="-1">Audiences</h1><p>Who is lapsing now, what they spent in the past year, and whether anything reaches them. Today's members; a customer can be in several audiences.</p>` +
      `<div class="grid">${figure({ title: "Members", full: true, of: "Customers in each audience now.", filters: [], empty: sizes.length ? "" : "No audience has members today.", chart: { kind: "bars", unit: "count", across: "audience", measure: "customers", rows: sizes.map((r) => ({ label: plain(r.audience), values: [r.customers], told: `${show("count", r.customers)} (${show("percent", share(r.customers, (rows.audiences.find((x) => x.section === "total" && x.audience[0] === "(") || {}).customers))} of all)`, style: r.audience === chosen ? "s0" : "s2" })) } })}</div>` +
      (chosen ? `<h2>One audience</h2><div class="chosen"><label class="inline">Audience<select id="audience" data-state="audience">${names.map((n) => `<option value="${escape(n)}"${n === chosen ? " selected" : ""}>${escape(n[0] === "(" ? "all customers" : plain(n))}</option>`).join("")}</select></label></div>` +
      `<dl class="tiles">${tile("Members", show("count", all.customers), reader)}${tile("Revenue of the past year", show("money", all.revenue_past_year), `net, of these customers; ${show("money", all.customers ? all.revenue_past_year / all.customers : null)} each`)}${tile("Orders of the past year", show("count", all.orders_past_year), `${show("number", all.customers ? all.orders_past_year / all.customers : null)} each`)}</dl>` +
      `<div class="grid">${chart("Reachable by", "reachable", "count", "customers", `Of ${reader}: consent, a working address and no suppression. Channels overlap.`)}${chart("Spend of the past year, by lifetime spend", "lifetime_spend_band", "money", "revenue_past_year", `Net revenue of the past year of ${reader}, by what they have spent in their life.`)}${chart("Where they buy", "sales_channel", "money", "revenue_past_year", `Net revenue of the past year of ${reader}, by sales channel of the purchase.`)}${chart("Customers by lifetime spend", "lifetime_spend_band", "count", "customers", `Of ${reader}.`)}${chart("Country", "country", "count", "customers", `Of ${reader}.`)}${chart("Brand", "brand", "count", "customers", `Of ${reader}.`)}</div>` : "");
  }

  function deliverability() {
    const list = kept(rows.deliverability, { date: "sent_on" }), groups = grouped(list, (r) => r.channel), channels = unique(list.map((r) => r.channel)), days = unique(list.map((r) => r.sent_on));
    const long = days.length > 62, bucket = (d) => (long ? monday(d) : d), times = unique(days.map(bucket)), byTime = grouped(list, (r) => bucket(r.sent_on)), filters = ["program", "channel", "dates"];
    const rate = (column, over) => times.map((t) => share(total(byTime.get(t), column), total(byTime.get(t), over)));
    const grain = long ? "week" : "day", nothing = list.length ? "" : rows.deliverability.length ? "No message was sent with these filters." : "No message has been sent yet.";
    const lines = (title, of, series) => figure({ title, of, filters, empty: nothing, chart: { kind: "lines", unit: "percent", across: grain, ticks: times.map(dates.long), series: series.map(([name, style, column, over]) => ({ name, style, values: rate(column, over), dashed: style === "s1" })) } });
    const shares = (g) => { const n = (k) => total(g, k), of = (k, all) => cell("percent", share(n(k), n(all))); return [n("sent"), of("reached", "sent"), of("bounced", "sent"), of("opened", "reached"), of("clicked", "reached"), of("unsubscribed", "reached"), of("complained", "reached")]; };
    const headings = ["sent", "reached", "bounced", "read", "clicked", "unsubscribed", "complained"], of = "Reached: sent and not bounced for good. Reached and bounced: of sent; the others: of reached.";
    const { warning, limit_ } = rows.complaint_limits[0] || {};
    const domains = [...grouped(kept(rows.domains), (r) => r.domain).entries()].sort((a, b) => total(b[1], "sent") - total(a[1], "sent"));
    return `<h1 tabindex="-1">Deliverability</h1><p>What became of messages once they had left, by the day on which they left: figures of the last days still grow. Opens and clicks by machines are left out.</p><div class="grid">` +
      listing({ title: "By channel", of, filters, empty: nothing, headings: ["channel", ...headings], body: channels.map((c) => [plain(c), ...shares(groups.get(c))]) }) +
      figure({ title: "Messages sent", of: `Accepted by providers, by ${grain} of sending and channel.`, full: true, filters, empty: nothing, chart: { kind: "columns", unit: "count", across: grain, measure: "messages", paleMeans: "immature: the week is not over", series: channels.map((c, i) => ({ name: plain(c), style: styled(c, i) })), rows: times.map((t) => ({ label: dates.long(t), tick: dates.short(t), pale: long && !weekIsOver(t), values: channels.map((c) => total(byTime.get(t).filter((r) => r.channel === c), "sent")) })) } }) +
      lines("Trouble", `Bounced: of sent. Unsubscribed and complained: of reached. By ${grain} of sending.${limit_ ? ` Mailbox providers look askance from ${show("percent", warning)} complaints and refuse at ${show("percent", limit_)}.` : ""}`, [["bounced", "s5", "bounced", "sent"], ["unsubscribed", "s1", "unsubscribed", "reached"], ["complained", "s4", "complained", "reached"]]) +
      lines("Interest", `People who read and clicked, of reached, by ${grain} of sending.`, [["read", "s0", "opened", "reached"], ["clicked", "s1", "clicked", "reached"]]) +
      listing({ title: "Email by mailbox domain", of: `${of} Over all dates; rare domains are joined as other.`, filters: ["program"], empty: rows.deliverability.length ? "No email was sent with these filters." : "No message has been sent yet.", headings: ["domain", ...headings], body: state.channel && state.channel !== "email" ? [] : domains.map(([d, g]) => [d, ...shares(g)]) }) + "</div>";
  }

  function next() {
    const list = kept(rows.upcoming), sends = list.filter((r) => r.arm !== "holdout"), due = (r) => (r.is_due ? data.asOf : r.due_on), tomorrow = add(data.asOf, 1);
    const inRun = (day) => sends.filter((r) => due(r) === day), people = ["(none)", "task"], messages = (day) => total(inRun(day).filter((r) => !people.includes(r.channel)), "journeys"), of = (day, channel) => total(inRun(day).filter((r) => r.channel === channel), "journeys");
    const channels = unique(sends.map((r) => r.channel)), last = add(data.asOf, 13), days = [], byDay = grouped(sends, due);
    for (let d = data.asOf; d <= last; d = add(d, 1)) days.push(d);
    const waterfall = kept(rows.admissions), admitted = total(waterfall.filter((r) => r.reason === "admitted"), "customers");
    const reasons = [...grouped(waterfall, (r) => r.reason).values()].map((g) => [g[0].reason, total(g, "customers"), g[0].position]).sort((a, b) => a[2] - b[2]).filter((r) => r[1]);
    const groups = [...grouped(list, (r) => [due(r), r.program, r.version, r.step_no, r.channel, r.arm].join("|")).values()].filter((g) => due(g[0]) <= add(data.asOf, 6));
    const nothing = list.length ? "" : rows.upcoming.length ? "No step falls due with these filters." : "No journey is open: nothing falls due.";
    const run = (d) => (d === data.asOf ? `this run (${dates.short(d)})` : d === tomorrow ? `next run (${dates.short(d)})` : dates.long(d));
    return `<h1 tabindex="-1">What the next run will do</h1><p>Open journeys by the run in which their next step falls due. This run is the one that made these figures: it has dealt with its part. A step that is dealt with brings the one after it, which is not listed yet. Purchases, consent and caps are looked at again just before sending, so fewer may go.</p>` +
      `<dl class="tiles">${tile("Next run", show("count", messages(tomorrow)), `messages due on ${dates.long(tomorrow)}, if nothing changes; first steps of whoever it lets in come on top`)}${tile("Tasks for people", show("count", of(tomorrow, "task")), "due in the next run")}${tile("This run", show("count", messages(data.asOf)), `messages were due; ${show("count", of(data.asOf, "(none)"))} more had no channel that reaches the customer and were skipped`)}${tile("Let in by this run", show("count", admitted), `of ${show("count", total(waterfall, "customers"))} members of live programs' audiences; their first step is in this run`)}</dl><div class="grid">` +
      figure({ title: "Steps falling due", full: true, of: "Treated journeys by date of the run and the first channel that reaches them today, 14 days. The first is this run.", filters: ["program", "brand", "channel"], empty: nothing,
        chart: { kind: "columns", unit: "count", across: "run", measure: "journeys", series: channels.map((c, i) => ({ name: c === "(none)" ? "nobody to reach" : plain(c), style: styled(c, i) })), rows: days.map((d) => ({ label: run(d), tick: dates.short(d), values: channels.map((c) => total((byDay.get(d) || []).filter((r) => r.channel === c), "journeys")) })) } }) +
      figure({ title: "Who this run let in, and who not", full: true, of: "Members of live programs' audiences; the first gate that holds somebody back is the reason. A customer in two audiences counts twice.", filters: ["program"], empty: reasons.length ? "" : "No program is live, or no audience has members.",
        chart: { kind: "bars", unit: "count", across: "decision", measure: "customers", rows: reasons.map(([r, n]) => ({ label: plain(r), values: [n], style: r === "admitted" ? "s0" : "s2", told: `${show("count", n)} (${show("percent", share(n, total(waterfall, "customers")))})` })) } }) +
      listing({ title: "Seven days in detail", of: "Journeys. Held out: nothing is sent to them.", filters: ["program", "brand", "channel"], empty: nothing, headings: ["run", "program", "step", "version", "channel", "arm", "journeys"],
        body: groups.map((g) => [{ text: run(due(g[0])), value: due(g[0]) }, plain(g[0].program), `${g[0].step_no}. ${plain(g[0].content)}`, g[0].version, g[0].channel === "(none)" ? "nobody to reach" : plain(g[0].channel), g[0].arm === "holdout" ? "held out" : "treated", total(g, "journeys")]) }) + "</div>";
  }

  function about() {
    const words = [["Incremental", "What would not have happened without the messages: treated minus held out, times the treated. First entries per customer and program only, once their window has closed."], ["Attributed", `Orders whose latest message was less than the window before. The window is the one in the filter bar, in hours; exactly that many hours count as outside. By the hour up to ${data.exactHours} hours${data.exactHours < data.longestHours ? ", by 24 hours beyond (to keep this file small)" : ""}.`], ["Treated, held out", "Each customer is dealt to one arm of a program, for good. Who is held out walks the same steps and receives nothing."], ["Bought", "At least one purchase from entry on within the program's window; both arms alike."], ["Started", "Journeys begun; the denominator of every percentage of journeys. Those admitted by the last run appear the day after."], ["Window, mature", "A figure is mature once the window of everybody in it has closed. Immature ones are pale and marked: they can still change."], ["95% interval", "Newcombe for percentages, Welch for revenue and orders. If it holds zero, the difference may be chance."], ["Always-valid interval", "Wider, and honest however often one looks before the end."], ["Holdout as dealt", "Whether as many were held out as the program says. If not, something sorted people after dealing, and the lift is not to be trusted."], ["Message", "Accepted by the provider, and not bounced or failed since. Tasks for people and other systems' campaigns are none."], ["Read, clicked", "By people: privacy proxies and link scanners are left out. People count once per message, times every time."], ["Sent, delivered", "Sent: accepted by the provider or proven by an event. Delivered includes messages that were read without a report of delivery."], ["Revenue", `Net of discounts and refunds${data.currency ? `, in ${data.currency}` : ""}.`], ["Dates", "UTC. Journeys are filtered by week of entry, return curves and lift by month of entry, orders by date of order."]];
    return `<h1 tabindex="-1">What the figures mean</h1><p>Figures of everything before ${escape(dates.long(data.asOf))}, 00:00 UTC; published ${escape(data.published)} UTC by run ${escape(data.run)}. The same figures stand in the published marts for any BI tool.</p><section class="card"><dl class="facts">${words.map(([w, m]) => `<dt>${escape(w)}</dt><dd>${escape(m)}</dd>`).join("")}</dl></section>`;
  }

  const pages = { overview, programs, tiers, audiences, deliverability, next, about };
  const NAMES = { overview: "Overview", programs: "Programs", tiers: "Tiers", audiences: "Audiences", deliverability: "Deliverability", next: "Next run", about: "Meaning" };
  const $ = (id) => document.getElementById(id);

  function render() {
    figures = [];
    const kept_ = document.activeElement?.id, open = new Set([...document.querySelectorAll("#page details[open]")].map((d) => d.dataset.title));
    $("page").innerHTML = pages[state.page]();
    for (const place of document.querySelectorAll("#page [data-figure]")) charts.mount(place, figures[place.dataset.figure]);
    for (const details of document.querySelectorAll("#page details[data-table]")) {
      details.dataset.title = figures[details.dataset.table].title;
      details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.insertAdjacentHTML("beforeend", tableHtml(figures[details.dataset.table])); });
      details.open = open.has(details.dataset.title);
    }
    if (kept_ && document.activeElement?.id !== kept_) $(kept_)?.focus();
    $("pages").innerHTML = Object.keys(pages).map((p) => `<a href="${escape(hash({ page: p }))}"${p === state.page ? ' aria-current="page"' : ""}>${NAMES[p]}</a>`).join("");
    $("pages").querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
    document.title = `${NAMES[state.page]}${state.program && state.page === "programs" ? `: ${plain(state.program)}` : ""} – Winback, ${data.asOf}`;
    $("printed").textContent = [`As of ${dates.long(data.asOf)}`, ...Object.keys(FILTERS).map((f) => FILTERS[f]()).filter(Boolean), `attribution window ${windowed()}`].join(" · ");
  }

  function filterBar() {
    const options = (values, chosen, all, name = plain) => `<option value="">${all}</option>` + values.map((v) => `<option value="${escape(v)}"${String(v) === String(chosen) ? " selected" : ""}>${escape(name(v))}</option>`).join("");
    const versions = rows.programs.filter((r) => r.program === state.program).map((r) => r.version), active = Object.keys(FILTERS).filter((f) => FILTERS[f]()).length;
    const preset = [24, 72, 120, 168, 336, 720].filter((h) => h <= data.longestHours);
    $("filters").innerHTML = `<fieldset><label>Attribution, hours<input type="number" id="hours" min="1" max="${data.longestHours}" step="1" value="${state.hours}" inputmode="numeric"></label>${preset.map((h) => `<button type="button" data-hours="${h}" aria-pressed="${h === state.hours}" aria-label="${h} hours">${h}</button>`).join("")}</fieldset>` +
      `<button type="button" id="toggle" aria-expanded="${$("filters").classList.contains("open")}" aria-controls="more">Filters${active ? ` (${active})` : ""}</button><div class="more" id="more"><label>Program<select id="program" data-state="program">${options(PROGRAMS, state.program, "All programs")}</select></label>` +
      (versions.length > 1 ? `<label>Version<select id="version" data-state="version">${options(versions, state.version, "All versions", String)}</select></label>` : "") +
      (BRANDS.length > 1 || state.brand ? `<label>Brand<select id="brand" data-state="brand">${options(BRANDS, state.brand, "All brands", String)}</select></label>` : "") + `<label>Channel<select id="channel" data-state="channel">${options(CHANNELS, state.channel, "All channels")}</select></label>` +
      `<label>From<input type="date" id="from" data-state="from" value="${state.from}" max="${data.asOf}"></label><label>To<input type="date" id="to" data-state="to" value="${state.to}" max="${data.asOf}"></label><button type="button" id="reset"${active ? "" : " hidden"}>Clear</button></div>`;
  }
  function changed(changes, said) {
    Object.assign(state, changes);
    if ("program" in changes) state.version = "";
    history.replaceState(null, "", hash());
    const focus = document.activeElement?.id;
    filterBar();
    render();
    if (focus) $(focus)?.focus();
    $("said").textContent = said || `Attributed revenue within ${windowed()}: ${show("money", total(inWindow(), "revenue"))}`;
  }
  function download(i) {
    const file = document.createElement("a"), name = `winback ${data.asOf} ${figures[i].title}`.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    file.href = URL.createObjectURL(new Blob([charts.csv(figures[i])], { type: "text/csv" }));
    file.download = `${name}.csv`;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
  }

  document.addEventListener("click", (event) => {
    const at = event.target.closest("[data-csv], [data-hours], #reset, #toggle");
    if (!at) return;
    if (at.dataset.csv) download(Number(at.dataset.csv));
    else if (at.dataset.hours) { changed({ hours: Number(at.dataset.hours) }); document.querySelector(`[data-hours="${state.hours}"]`)?.focus(); }
    else if (at.id === "reset") { changed({ program: "", version: "", brand: "", channel: "", from: "", to: "" }, "Filters cleared"); $("program").focus(); }
    else { const open = $("filters").classList.toggle("open"); at.setAttribute("aria-expanded", open); }
  });
  document.addEventListener("change", (event) => {
    const at = event.target;
    if (at.dataset?.state) changed({ [at.dataset.state]: at.dataset.state === "lapsed" ? Number(at.value) : at.value });
    else if (at.id === "hours") changed({ hours: snapped(Number(at.value)) });
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { readHash(); filterBar(); render(); scrollTo(0, 0); $("page").querySelector("h1")?.focus({ preventScroll: true }); });
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });

  $("asof").textContent = `everything before ${dates.long(data.asOf)}`;
  readHash();
  filterBar();
  render();
})();
