// What pages do beyond what HTML does by itself: they follow what happens, tell times, and listen to keys.
"use strict";

(() => {
  const PROGRESS_MILLISECONDS = 2000; // what no stream tells: how far something is
  const ALONE_MILLISECONDS = 10000; // while no stream is open
  const ANYWAY_MILLISECONDS = 30000; // what time alone changes
  const REST_MILLISECONDS = 500; // after a look, however much is told
  const TELL_MILLISECONDS = 5000;
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- times: as long ago as the server's clock says ---

  const offset = Date.now() - Date.parse(document.body.dataset.now);
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  const agoText = (moment) => {
    const seconds = (Date.now() - offset - moment) / 1000;
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [unit, name] = units.find(([unit]) => size >= unit);
    const text = `${Math.floor(size / unit)} ${name}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  };

  const tellTimes = () => all("time[data-ago]").forEach((time) => {
    const text = agoText(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  });
  setInterval(() => { tellTimes(); tellWhetherLive(); }, TELL_MILLISECONDS);

  // --- what is live looks again, while somebody can see it ---

  // a form that was sent leads elsewhere: what a look hears meanwhile must not lead back
  const LEAVE_MILLISECONDS = 10000;
  let sentAt = -LEAVE_MILLISECONDS;
  const leaves = () => performance.now() - sentAt < LEAVE_MILLISECONDS;
  document.addEventListener("submit", (event) => { if (event.target.method !== "dialog") sentAt = performance.now(); });
  document.addEventListener("htmx:beforeOnLoad", (event) => { if (leaves()) event.preventDefault(); });
  window.addEventListener("pageshow", () => { sentAt = -LEAVE_MILLISECONDS; });

  const isSeen = () => document.visibilityState === "visible";
  const look = (which = "[data-live]") => {
    if (isSeen() && !leaves()) all(which).forEach((part) => htmx.trigger(part, "live"));
  };
  setInterval(() => look("[data-live]:not([data-stream])"), PROGRESS_MILLISECONDS);
  setInterval(look, ANYWAY_MILLISECONDS);

  // --- a stream tells when to look; browsers have few connections, so only pages that are seen have one ---

  let stream = null;
  let streamed = "";
  let isLost = false;
  let position = "";
  let isLooking = false;
  let isDue = false;
  let resting = 0;

  const rest = () => {
    clearTimeout(resting);
    resting = setTimeout(() => { resting = 0; if (isDue) lookSoon(); }, REST_MILLISECONDS);
  };
  const lookSoon = () => {
    isDue = isLooking || resting !== 0;
    if (!isDue) { look("[data-stream]"); if (!isLooking) rest(); }
  };
  const isOfStream = (event) => event.target.matches("[data-stream]");
  document.addEventListener("htmx:configRequest", (event) => {
    if (position && event.target.matches("[data-takes-after]")) event.detail.parameters.after = position;
  });
  document.addEventListener("htmx:beforeRequest", (event) => { if (isOfStream(event)) isLooking = true; });
  document.addEventListener("htmx:afterRequest", () => { if (isLooking) { isLooking = false; rest(); } });

  const told = (event) => {
    if (event.lastEventId) position = event.lastEventId;
    lookSoon();
  };
  const listen = (address) => {
    stream = new EventSource(address);
    stream.addEventListener("open", () => { isLost = false; });
    stream.addEventListener("begun", told);
    stream.addEventListener("message", told);
    stream.addEventListener("error", (event) => {
      if (event.target !== stream) return;
      isLost = true;
      heard(false);
      if (stream.readyState === EventSource.CLOSED) lookSoon(); // refused: a look finds out why
    });
  };
  const tune = (isHere = isSeen()) => {
    const part = find("[data-stream]");
    const address = part && isHere ? part.dataset.stream : "";
    if (address === streamed && !(stream && stream.readyState === EventSource.CLOSED)) return;
    if (stream) stream.close();
    [stream, streamed, isLost] = [null, address, isLost && Boolean(address)];
    if (address) listen(address);
  };
  setInterval(() => {
    tune();
    if (isLost || isStale) look("[data-stream]");
  }, ALONE_MILLISECONDS);
  document.addEventListener("visibilitychange", () => { tune(); look(); });
  document.addEventListener("htmx:afterSettle", () => tune());
  window.addEventListener("pagehide", () => tune(false));
  window.addEventListener("pageshow", () => tune());

  let rowsBefore = new Set();
  document.addEventListener("htmx:beforeSwap", () => {
    rowsBefore = new Set(all("tr[data-row]").map((row) => row.dataset.row));
  });
  document.addEventListener("htmx:afterSettle", () => {
    all("tr[data-row]").filter((row) => !rowsBefore.has(row.dataset.row)).forEach((row) => row.classList.add("is-new"));
    tellTimes();
  });
  let isStale = false;
  let answeredAt = Date.now();
  const tellWhetherLive = () => {
    const words = isStale ? `reconnecting: this is how it was ${agoText(answeredAt - offset)}` : isLost ? "every 10 s" : "live";
    document.body.classList.toggle("is-stale", isStale);
    all(".live-words").filter((live) => live.textContent !== words).forEach((live) => { live.textContent = words; });
  };
  const heard = (isAnswer) => {
    isStale = !isAnswer;
    if (isAnswer) answeredAt = Date.now();
    tellWhetherLive();
  };
  ["htmx:sendError", "htmx:responseError", "htmx:timeout"].forEach((name) => {
    document.addEventListener(name, () => heard(false));
  });
  window.addEventListener("offline", () => heard(false));
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) heard(true); });

  // --- forms ---

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-send-on-change]")) event.target.form.requestSubmit();
  });
  all("form[data-send-at-once]").forEach((form) => form.requestSubmit());
  all("form.filter").forEach((form) => form.addEventListener("formdata", (event) => {
    [...event.formData.entries()].forEach(([name, value]) => { if (value === "") event.formData.delete(name); });
    if (event.formData.has("within")) ["from", "to"].forEach((name) => event.formData.delete(name));
  }));
  all("form.filter").forEach((form) => {
    const toggle = document.createElement("button");
    const isUsed = Boolean(location.search);
    toggle.className = "filter-toggle";
    toggle.type = "button";
    toggle.textContent = "Filter";
    toggle.setAttribute("aria-expanded", String(isUsed));
    toggle.addEventListener("click", () => {
      toggle.setAttribute("aria-expanded", String(toggle.getAttribute("aria-expanded") === "false"));
    });
    form.before(toggle);
  });
  const trouble = find(".trouble");
  if (trouble) trouble.focus();

  // --- keys ---

  const rows = () => all(".row-link");
  const move = (step) => {
    const links = rows();
    if (!links.length) return false;
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step));
    links[next].focus();
    links[next].closest("tr").scrollIntoView({ block: "nearest" });
    return true;
  };
  const follow = (selector) => {
    const link = find(selector);
    if (link) link.click();
    return Boolean(link);
  };
  const showKeys = () => {
    const dialog = find("#keys");
    if (dialog && !dialog.open) dialog.showModal();
    return Boolean(dialog);
  };
  const focusFilter = () => {
    const field = find("[data-filter]");
    all(".filter-toggle").forEach((toggle) => toggle.setAttribute("aria-expanded", "true"));
    if (field) { field.focus(); if (field.select) field.select(); }
    return Boolean(field);
  };
  const places = { j: ".sections a:first-child", d: ".sections a:last-child", t: ".brand" };
  const keys = {
    "/": focusFilter, "?": showKeys, j: () => move(1), k: () => move(-1), ArrowDown: () => move(1),
    ArrowUp: () => move(-1), n: () => follow("[data-older]"), p: () => follow("[data-newest]"),
  };
  let going = false;

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
    const act = going ? () => follow(places[event.key] || "#no-such-place") : keys[event.key];
    going = !going && event.key === "g";
    if (act && act()) event.preventDefault();
  });
  all("[data-keys]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", showKeys);
  });
})();
